package emulator

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	sysOpen   = noOpen // arm64 never had open(2)
)
