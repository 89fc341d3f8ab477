//go:build unix && !linux

package pgtest

import "syscall"

// attributes give the server a process group of its own. Here nothing ends it
// when the test binary is killed.
func attributes() (*syscall.SysProcAttr, error) {
	return &syscall.SysProcAttr{Setpgid: true}, nil
}
