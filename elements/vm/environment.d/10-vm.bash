# generic: every driver Debian has; cloud: virtio, NVMe and IDE only, smaller and faster; none: another element brings a kernel.
export DIB_VM_KERNEL=${DIB_VM_KERNEL:-generic}
