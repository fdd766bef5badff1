//! The classic elements' library where it needs root: mounts of a target, the stand-in for sudo, hooks run in a target, work directories.
//! Every script runs in a mount namespace of its own.

use std::fs;
use std::process::Command;

use anyhow::Result;
use dibw_tests::library::{LibraryBash, diskimage_builder_source, said, write, write_library};

/// The library, and a way to run bash in a private mount namespace. None, having said so, without root.
struct Root(LibraryBash);

impl Root {
    fn new(test: &str) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return Ok(None);
        }
        Ok(Some(Self(LibraryBash::new()?)))
    }

    fn command(&self, script: &str) -> Command {
        // In a file, so that it may quote as it likes.
        fs::write(self.0.dir.path().join("script"), script).expect("the test's own directory can be written");
        let inner = "unshare --mount --propagation private bash -c 'set -eu -o pipefail; . ./script'";
        self.0.command(&format!("exec {inner}"))
    }

    fn says(&self, script: &str) -> Result<String> {
        said(self.command(script).output()?)
    }
}

/// diskimage-builder's own test of its library, unmodified, on ours.
#[test]
fn the_library_passes_the_tests_of_diskimage_builders() -> Result<()> {
    let test = "the_library_passes_the_tests_of_diskimage_builders";
    let Some(root) = Root::new(test)? else { return Ok(()) };
    let Some(source) = diskimage_builder_source(test)? else { return Ok(()) };
    write_library(&root.0.dir.path().join("diskimage_builder/lib"))?;
    fs::create_dir(root.0.dir.path().join("tests"))?;
    let script = source.join("tests/run_dib_library_tests.sh");
    let said = root.says(&format!("cd tests; unset _LIB; source {}", script.display()))?;
    assert_eq!(said.lines().filter(|line| line.starts_with("*** PASS")).count(), 3, "{said}");
    assert!(!said.contains("FAILED"), "{said}");
    Ok(())
}

#[test]
fn unmounting_leaves_the_images_own_file_systems() -> Result<()> {
    let Some(root) = Root::new("unmounting_leaves_the_images_own_file_systems")? else { return Ok(()) };
    let script = "source $_LIB/common-functions; source $_LIB/img-functions\n\
        export TMP_MOUNT_PATH=$PWD/mnt DIB_MOUNTPOINTS='/|/boot|/var/lib x'\n\
        mkdir -p mnt/{boot,proc,dev,sys,other,'var/lib x'}; for m in boot other 'var/lib x'; do mount -t tmpfs none \"mnt/$m\"; done\n\
        mkdir mnt/other/boot; mount -t tmpfs none mnt/other/boot; mount_proc_dev_sys\n\
        EXTRA_UNMOUNT='echo extra'; unmount_image; unmount_dir /this/is/not/there; grep -o \"$PWD/[^ ]*\" /proc/mounts | sed s#$PWD/##";
    assert_eq!(root.says(script)?, "extra\nmnt/boot\nmnt/var/lib\\040x\n");
    Ok(())
}

#[test]
fn work_directories_go_with_the_shell_and_its_status_stays() -> Result<()> {
    let Some(root) = Root::new("work_directories_go_with_the_shell_and_its_status_stays")? else {
        return Ok(());
    };
    let script = "source $_LIB/common-functions; source $_LIB/img-functions\n\
        export TMPDIR=$PWD/wins TMP_DIR=/nowhere DIB_MIN_TMPFS=0; mkdir -p wins; mk_build_dir; ls wins | sed 's/[.].*//'\n\
        export TMP_MOUNT_PATH=$TMP_BUILD_DIR/mnt; mkdir $TMP_MOUNT_PATH; mount -t tmpfs none $TMP_MOUNT_PATH\n\
        [ $TMP_HOOKS_PATH = $TMP_BUILD_DIR/hooks ]; stat -fc %T $TMP_BUILD_DIR; exit 42";
    let ran = root.command(script).output()?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(42), "{said}");
    assert_eq!(said.lines().skip(1).collect::<Vec<_>>(), ["dib_build", "dib_image", "tmpfs"]);
    assert_eq!(fs::read_dir(root.0.dir.path().join("wins"))?.count(), 0);
    // Without memory enough, and where nothing may be mounted, the directories are plain ones.
    let plain = "source $_LIB/common-functions; export TMPDIR=$PWD/wins DIB_MIN_TMPFS=99999; mk_build_dir; ! mountpoint -q $TMP_BUILD_DIR";
    assert!(root.says(plain)?.starts_with("WARNING: Not enough RAM to use tmpfs for build."));
    Ok(())
}

#[test]
fn sudo_keeps_and_drops_what_elements_rely_on() -> Result<()> {
    let Some(root) = Root::new("sudo_keeps_and_drops_what_elements_rely_on")? else { return Ok(()) };
    let script = "die() { :; }; export -f die\n\
        export FOO='a\nb' DIB_RELEASE=x PYTHONPATH=x LD_AUDIT=x PS4=+ PERL5LIB=x BASH_ENV=/nowhere TMPDIR=/t HOME=/own http_proxy=p\n\
        show() { tr '\\0' '\\n' | LC_ALL=C sort | sed \"s#$_LIB#LIB#\"; }\n\
        $_LIB/bin/sudo env -0 | show; echo --; $_LIB/bin/sudo -E env -0 | show | grep -v '^\\(_LIB\\|PWD\\|SHLVL\\|SUDO_\\|OLDPWD\\|PATH\\)'";
    let path = "LIB/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let reset = format!(
        "HOME=/root\nLC_ALL=C\nLOGNAME=root\nMAIL=/var/mail/root\nPATH={path}\nSHELL=/bin/bash\n\
         SUDO_COMMAND=/usr/bin/env -0\nSUDO_GID=0\nSUDO_UID=0\nSUDO_USER=root\nUSER=root\n"
    );
    let kept = "DIB_RELEASE=x\nFOO=a\nHOME=/own\nLC_ALL=C\nLOGNAME=root\nPYTHONDONTWRITEBYTECODE=1\nTMPDIR=/t\nUSER=root\nb\nhttp_proxy=p\n";
    assert_eq!(root.says(script)?, format!("{reset}--\n{kept}"));
    Ok(())
}

#[test]
fn sudo_runs_as_another_user_and_passes_words_and_status() -> Result<()> {
    let Some(root) = Root::new("sudo_runs_as_another_user_and_passes_words_and_status")? else {
        return Ok(());
    };
    let script = "chmod 755 . ; s=$_LIB/bin/sudo; umask 0; \n\
        $s -u nobody sh -c 'id -un; echo $HOME $USER $SUDO_USER'; $s -u '#65534' -g nogroup id -g; $s --user=nobody -nEH A='b  c' sh -c 'echo \"$HOME $A $1\"' x 'y  z'\n\
        $s -D / pwd; $s -i pwd; $s umask 2>/dev/null || $s sh -c umask\n\
        $s -n true; $s -v; $s -k; $s -- echo -- x; $s -s 'echo' shell; for w in 'sh -c \"exit 42\"' '' no-such-program '-u nobodyatall true' '-Z true'; do\n\
        eval \"$s $w\" >/dev/null 2>&1 && echo 0 || echo $?; done";
    assert_eq!(
        root.says(script)?,
        "nobody\n/nonexistent nobody root\n65534\n/nonexistent b  c y  z\n/\n/root\n0022\n-- x\nshell\n42\n1\n1\n1\n1\n"
    );
    Ok(())
}

/// A target of the host's own programs: enough to run a phase in.
const TARGET: &str = "source $_LIB/common-functions; source $_LIB/img-functions\n\
    export TMP_MOUNT_PATH=$PWD/mnt TMP_HOOKS_PATH=$PWD/hooks PATH=$_LIB/bin:$PATH\n\
    mkdir -p mnt/{tmp,etc,proc,dev,sys,usr,var/log,root}; for d in bin sbin lib lib64; do ln -s usr/$d mnt/$d; done; mount --bind /usr mnt/usr\n";

#[test]
fn a_phase_runs_in_the_target_with_its_environment() -> Result<()> {
    let Some(root) = Root::new("a_phase_runs_in_the_target_with_its_environment")? else { return Ok(()) };
    let hooks = root.0.dir.path().join("hooks");
    let hook = "#!/bin/bash\necho \"$0 $PWD $PACKAGE_MANAGER ${TMPDIR:-none}\"; touch /tmp/in_target.d/x 2>/dev/null || echo read-only\nexit ${STATUS:-0}\n";
    write(&hooks.join("install.d/10-a"), hook, 0o755)?;
    write(&hooks.join("environment.d/10-e"), "export PACKAGE_MANAGER=manager\n", 0o644)?;
    write(&hooks.join("bin/unused"), "", 0o755)?;
    let script = format!(
        "{TARGET}install() {{ :; }}; export TMPDIR=/t; run_d_in_target install 2>/dev/null; ls mnt/tmp; echo STATUS; run_in_target \"echo a | cat\"\n\
         status=0; STATUS=42 run_d_in_target install >/dev/null 2>&1 || status=$?; ls mnt/tmp; exit $status"
    );
    // STATUS must be exported to reach the target.
    let ran = root.command(&script.replace("STATUS=42 run", "export STATUS=42; run")).output()?;
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "/tmp/in_target.d/install.d/10-a / manager none\nread-only\nSTATUS\na\n"
    );
    assert_eq!(ran.status.code(), Some(42));
    Ok(())
}

#[test]
fn a_finished_target_has_its_own_resolver_and_no_leftovers() -> Result<()> {
    let Some(root) = Root::new("a_finished_target_has_its_own_resolver_and_no_leftovers")? else {
        return Ok(());
    };
    write(
        &root.0.dir.path().join("hooks/cleanup.d/10-a"),
        "#!/bin/bash\necho \"$TARGET_ROOT\" | sed 's#.*/##'\n",
        0o755,
    )?;
    let script = format!(
        "{TARGET}echo host >mnt/etc/resolv.conf; echo own >mnt/etc/resolv.conf.ORIG; touch 'mnt/tmp/a b' mnt/tmp/.c; mkdir -p mnt/root/d\n\
         echo x >mnt/var/log/l; touch mnt/root/d/e.log mnt/root/f; finalise_base 2>/dev/null\n\
         cat mnt/etc/*; find mnt/tmp mnt/var mnt/root -type f -printf '%P %s\\n' | sort\n\
         rm -r mnt/var/log mnt/root; ln -sf x mnt/etc/resolv.conf; touch mnt/etc/resolv.conf.ORIG; finalise_base >/dev/null 2>&1; ls mnt/etc; umount mnt/usr"
    );
    assert_eq!(
        root.says(&script)?,
        format!(
            "Running hooks from {}/hooks/cleanup.d\nmnt\nown\nf 0\nlog/l 0\nresolv.conf\n",
            root.0.dir.path().display()
        )
    );
    Ok(())
}
