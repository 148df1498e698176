package emulator

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in the kernel's struct seccomp_data (little endian: the low half of an argument comes first).
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

// noOpen is sysOpen where there is no such call.
const noOpen = 1<<32 - 1

// What the filter looks at beside the system call numbers of filter_<arch>.go.
const (
	opaeMagic = 0xb5
	dflMagic  = 0xb6
)

// filterProgram lets everything pass but what may concern an FPGA node: ioctl requests with a driver's magic, open and
// openat for reading and writing, and openat2, whose flags lie in memory that a filter cannot read.
func filterProgram() []bpf.Instruction {
	const allow, notify = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_USER_NOTIF
	arg := func(n int) bpf.Instruction { return bpf.LoadAbsolute{Off: uint32(dataArgs + 8*n), Size: 4} }
	var calls, checks []bpf.Instruction
	// Each call is compared in turn; a hit jumps to its check behind all comparisons, where every block returns.
	type call struct {
		nr    uint32
		check []bpf.Instruction
	}
	readWrite := func(flagsArg int) []bpf.Instruction {
		return []bpf.Instruction{
			arg(flagsArg),
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: unix.O_ACCMODE},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.O_RDWR, SkipFalse: 1},
			bpf.RetConstant{Val: notify},
			bpf.RetConstant{Val: allow},
		}
	}
	list := []call{
		{unix.SYS_IOCTL, []bpf.Instruction{
			arg(1),
			bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 8},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xff},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: opaeMagic, SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: dflMagic, SkipFalse: 1},
			bpf.RetConstant{Val: notify},
			bpf.RetConstant{Val: allow},
		}},
		{unix.SYS_OPENAT, readWrite(2)},
		{unix.SYS_OPENAT2, []bpf.Instruction{bpf.RetConstant{Val: notify}}},
	}
	if sysOpen != noOpen {
		list = append(list, call{sysOpen, readWrite(1)})
	}
	for i, c := range list {
		skip := len(list) - i - 1 + 1 + len(checks) // comparisons behind this one, the final allow, the checks before its own
		calls = append(calls, bpf.JumpIf{Cond: bpf.JumpEqual, Val: c.nr, SkipTrue: uint8(skip)})
		checks = append(checks, c.check...)
	}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: allow}, // a foreign ABI (32 bit) has other numbers and structures
		bpf.LoadAbsolute{Off: dataNr, Size: 4},
	}
	program = append(program, calls...)
	program = append(program, bpf.RetConstant{Val: allow})
	return append(program, checks...)
}

// sockFilter is the program as the kernel takes it.
func sockFilter() ([]unix.SockFilter, error) {
	raw, err := bpf.Assemble(filterProgram())
	if err != nil {
		return nil, err
	}
	out := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		out[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return out, nil
}
