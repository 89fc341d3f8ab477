package agent

import (
	"io/fs"
	"syscall"
	"time"
)

// openNonblock keeps the opening of a pipe from waiting for its other end.
const openNonblock = syscall.O_NONBLOCK | syscall.O_NOCTTY

func stampOf(info fs.FileInfo) stamp {
	s := stamp{bytes: info.Size(), modified: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.changed, s.inode = time.Unix(sys.Ctim.Unix()), sys.Ino
	}
	return s
}
