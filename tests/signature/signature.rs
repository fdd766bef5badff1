//! Signatures from outside: who counts as a signer, what is refused, and that OpenSSL agrees on keys.

use std::collections::BTreeSet;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dibw_signature::{
    KeyPair, Keyless, Kind, PublicKey, SignatureFile, SignerId, Statement, Verification, Verifier, verify,
};
use serde_json::{Value, json};

const BYTES: &[u8] = b"\0asm a component";

fn pair(number: u8) -> KeyPair {
    KeyPair::generate(&[number; 32])
}

fn signer(pair: &KeyPair) -> SignerId {
    SignerId::Key(pair.public().id().clone())
}

/// The signature file that these pairs make for `BYTES` as an element, as JSON.
fn signed_by(pairs: &[&KeyPair]) -> Value {
    let statement = Statement::about(Kind::Element, BYTES);
    let mut file = SignatureFile::default();
    pairs.iter().for_each(|pair| file.add(pair.sign(&statement)));
    serde_json::from_str(&file.text()).unwrap()
}

fn checked(kind: Kind, bytes: &[u8], file: &Value, trusted: &[&KeyPair]) -> Verification {
    let file = SignatureFile::parse(file.to_string().as_bytes()).unwrap();
    let trusted: Vec<&dyn Verifier> = trusted.iter().map(|pair| -> &dyn Verifier { pair.public() }).collect();
    verify(&Statement::about(kind, bytes), &file, &trusted)
}

#[test]
fn what_was_signed_is_verified() {
    let (one, two) = (pair(1), pair(2));
    let file = signed_by(&[&one, &two]);
    let found = checked(Kind::Element, BYTES, &file, &[&two, &one]);
    assert_eq!(found.signers, BTreeSet::from([signer(&one), signer(&two)]));
    assert_eq!((found.problems.len(), found.strangers.len()), (0, 0));
    assert_eq!(found.require(2).unwrap().len(), 2);
}

#[test]
fn a_changed_byte_anywhere_is_no_signature() {
    let one = pair(1);
    let file = signed_by(&[&one]);
    for index in 0..BYTES.len() {
        let mut bytes = BYTES.to_vec();
        bytes[index] ^= 1;
        let error = checked(Kind::Element, &bytes, &file, &[&one]).require(1).unwrap_err();
        assert!(error.contains("but this is sha256:"), "{error}");
    }
    let signature = STANDARD.decode(file["signatures"][0]["signature"].as_str().unwrap()).unwrap();
    for index in 0..signature.len() {
        let mut bytes = signature.clone();
        bytes[index] ^= 0x40;
        let mut file = file.clone();
        file["signatures"][0]["signature"] = json!(STANDARD.encode(bytes));
        let error = checked(Kind::Element, BYTES, &file, &[&one]).require(1).unwrap_err();
        assert!(error.contains("was not made with it"), "{error}");
    }
}

#[test]
fn the_digest_in_the_file_is_a_claim_only() {
    let one = pair(1);
    let mut file = signed_by(&[&one]);
    let other = Statement::about(Kind::Element, b"other");
    file["signatures"][0]["digest"] = json!(format!("sha256:{}", other.sha256()));
    let found = checked(Kind::Element, b"other", &file, &[&one]);
    assert_eq!((found.signers.len(), found.problems.len()), (0, 1));
}

#[test]
fn a_signature_counts_for_its_own_kind_only() {
    let one = pair(1);
    let mut file = signed_by(&[&one]);
    let error = checked(Kind::Policy, BYTES, &file, &[&one]).require(1).unwrap_err();
    assert!(error.contains("signed it as element, which does not count as policy"), "{error}");
    // Saying otherwise in the file does not help.
    file["signatures"][0]["for"] = json!("policy");
    let error = checked(Kind::Policy, BYTES, &file, &[&one]).require(1).unwrap_err();
    assert!(error.contains("was not made with it"), "{error}");
}

#[test]
fn signers_are_counted_by_who_they_are() {
    let one = pair(1);
    let mut file = signed_by(&[&one]);
    let entry = file["signatures"][0].clone();
    file["signatures"] = json!([entry, entry, entry]);
    let found = checked(Kind::Element, BYTES, &file, &[&one, &one]);
    assert_eq!(found.signers, BTreeSet::from([signer(&one)]));
    let error = found.require(2).unwrap_err();
    assert_eq!(error, "signed by 1 trusted signer(s), 2 needed");
}

#[test]
fn signing_again_takes_the_place_of_the_older_signature() {
    let one = pair(1);
    let mut file = SignatureFile::default();
    file.add(one.sign(&Statement::about(Kind::Element, b"old")));
    file.add(one.sign(&Statement::about(Kind::Element, BYTES)));
    file.add(one.sign(&Statement::about(Kind::Policy, BYTES)));
    assert_eq!(file.signatures().len(), 2);
    assert!(file.signatures()[0].claims(&Statement::about(Kind::Element, BYTES)));
}

#[test]
fn a_broken_entry_of_one_signer_does_not_undo_another() {
    let (one, two) = (pair(1), pair(2));
    let mut file = signed_by(&[&one, &two]);
    file["signatures"][0]["signature"] = file["signatures"][1]["signature"].clone();
    let found = checked(Kind::Element, BYTES, &file, &[&one, &two]);
    assert_eq!(found.signers, BTreeSet::from([signer(&two)]));
    assert_eq!(found.problems.len(), 1);
}

#[test]
fn strangers_are_named_and_do_not_count() {
    let (one, two) = (pair(1), pair(2));
    let found = checked(Kind::Element, BYTES, &signed_by(&[&one]), &[&two]);
    assert_eq!(found.signers, BTreeSet::new());
    let error = found.require(0).unwrap_err();
    let expected = format!(
        "signed by 0 trusted signer(s), 1 needed; signed by key {}, which is not trusted",
        one.public().id()
    );
    assert_eq!(error, expected);
    // Naming a trusted key over a stranger's signature is a lie that shows.
    let mut file = signed_by(&[&one]);
    file["signatures"][0]["key"] = json!(two.public().id().to_string());
    let found = checked(Kind::Element, BYTES, &file, &[&two]);
    assert_eq!((found.signers.len(), found.problems.len()), (0, 1));
}

#[test]
fn a_keyless_signer_never_vouches_and_says_why() {
    let one = pair(1);
    let keyless = Keyless { issuer: "https://issuer.example".into(), subject: "https://ci.example/*".into() };
    let file = SignatureFile::parse(signed_by(&[&one]).to_string().as_bytes()).unwrap();
    let statement = Statement::about(Kind::Element, BYTES);
    let found = verify(&statement, &file, &[&keyless]);
    assert_eq!(found.strangers.len(), 1);
    let error = found.require(1).unwrap_err();
    assert!(error.contains("needs sigstore, which this build does not have"), "{error}");
    // Beside a key that vouches it does no harm.
    assert_eq!(verify(&statement, &file, &[&keyless, one.public()]).require(1).unwrap().len(), 1);
}

#[test]
fn files_that_are_not_as_written_are_refused() {
    let good = signed_by(&[&pair(1)]);
    let with = |field: &str, value: Value| {
        let mut file = good.clone();
        file["signatures"][0][field] = value;
        file.to_string()
    };
    let text = good.to_string();
    let many = json!({"v": 1, "signatures": vec![good["signatures"][0].clone(); 33]}).to_string();
    for (text, said) in [
        (String::new(), "not a signature file of dibw"),
        ("null".to_owned(), "not a signature file of dibw"),
        ("[".repeat(60_000), "not a signature file of dibw"),
        (" ".repeat(70_000), "a signature file of 70000 bytes"),
        ("\u{0}".to_owned(), "not a signature file of dibw"),
        (format!("{text} x"), "trailing characters"),
        (text.replacen('{', "{\"v\":1,", 1), "duplicate field `v`"),
        (text.replace("\"v\":1", "\"v\":2"), "version 2; this dibw reads version 1"),
        (text.replace("\"v\":1", "\"v\":-1"), "not a signature file of dibw"),
        (text.replace("signatures", "signature"), "not a signature file of dibw"),
        (many, "33 signatures in one file"),
        (with("more", json!(1)), "unknown field `more`"),
        (with("alg", json!("none")), "signature 1: algorithm \"none\""),
        (with("alg", json!("\u{1b}".repeat(1000))), "signature 1: algorithm"),
        (with("for", json!("image")), "`element` or `policy`"),
        (with("key", json!("../../etc")), "64 hexadecimal digits"),
        (with("digest", json!("md5:00")), "its digest is not"),
        (with("digest", json!(format!("sha256:{}", "A".repeat(64)))), "its digest is not"),
        (with("signature", json!("!")), "not base64"),
        (with("signature", json!("AAAA")), "3 bytes; an ed25519 signature has 64"),
        (with("signature", json!(7)), "not a signature file of dibw"),
    ] {
        let error = SignatureFile::parse(text.as_bytes()).unwrap_err();
        let start: String = text.chars().take(80).collect();
        assert!(error.contains(said) && error.len() < 400, "{start}: {error}");
    }
    assert!(SignatureFile::parse(&[0xff; 100]).is_err());
}

#[test]
fn keys_are_read_back_and_never_shown() {
    let one = pair(1);
    let again = KeyPair::from_pem(&one.private_pem()).unwrap();
    assert_eq!(again.public(), one.public());
    assert_eq!(PublicKey::from_pem(&one.public().pem()).unwrap(), *one.public());
    assert_eq!(format!("{one:?}"), format!("KeyPair({})", one.public().id()));
    assert_ne!(pair(2).public().id(), one.public().id());
}

#[test]
fn what_is_no_key_is_refused() {
    let one = pair(1);
    let private = one.private_pem().to_string();
    for (text, said) in [
        (one.public().pem(), "this is a public key"),
        (private.replace("PRIVATE", "ENCRYPTED PRIVATE"), "is encrypted"),
        (private.replace("MC4C", "MC5C"), "not an ed25519 private key"),
        (private.replace("PRIVATE", "RSA PRIVATE"), "not an ed25519 private key"),
        (format!("{private}{}", " ".repeat(5000)), "not an ed25519 private key"),
        (String::new(), "not an ed25519 private key"),
    ] {
        let error = KeyPair::from_pem(&text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
    // The neutral element of the curve: everything is signed by it.
    let mut weak = STANDARD.decode("MCowBQYDK2VwAyEA").unwrap();
    weak.push(1);
    weak.extend([0; 31]);
    let weak = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(weak));
    for (text, said) in [
        (private, "this is a private key"),
        (weak, "a weak ed25519 key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_owned(), "not an ed25519"),
        (String::new(), "not an ed25519 public key"),
    ] {
        let error = PublicKey::from_pem(&text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn openssl_reads_our_keys_and_agrees_on_names_and_signatures() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let one = pair(7);
    std::fs::write(file("private.pem"), one.private_pem().as_bytes()).unwrap();
    std::fs::write(file("public.pem"), one.public().pem()).unwrap();
    assert_eq!(openssl(&["pkey", "-in", &file("private.pem"), "-pubout"]), one.public().pem().as_bytes());
    let der = openssl(&["pkey", "-pubin", "-in", &file("public.pem"), "-outform", "DER"]);
    assert_eq!(
        Statement::about(Kind::Element, &der).sha256(),
        one.public().id().to_string(),
        "the name of a key is sha256 over its DER"
    );
    let statement = Statement::about(Kind::Element, BYTES);
    std::fs::write(file("statement"), statement.signed_bytes()).unwrap();
    let entry = &signed_by(&[&one])["signatures"][0];
    let signature = STANDARD.decode(entry["signature"].as_str().unwrap()).unwrap();
    std::fs::write(file("signature"), signature).unwrap();
    let (public, bytes, signed) = (file("public.pem"), file("statement"), file("signature"));
    openssl(&[
        "pkeyutl", "-verify", "-pubin", "-inkey", &public, "-rawin", "-in", &bytes, "-sigfile", &signed,
    ]);
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &file("theirs.pem")]);
    KeyPair::from_pem(&std::fs::read_to_string(file("theirs.pem")).unwrap()).unwrap();
}
