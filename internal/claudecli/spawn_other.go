//go:build !linux

package claudecli

import "syscall"

// attributes give the child a process group of its own. There is no
// parent-death signal here: a child whose service was killed ends when it reads
// the end of its standard input, after the turn that it runs.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// ResidentBytes isn't known here.
func ResidentBytes(int) int64 { return 0 }
