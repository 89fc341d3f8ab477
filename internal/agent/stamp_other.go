//go:build !linux

package agent

import (
	"io/fs"
	"syscall"
)

// openNonblock keeps the opening of a pipe from waiting for its other end.
const openNonblock = syscall.O_NONBLOCK | syscall.O_NOCTTY

// stampOf takes the time of modification for that of any change, which systems name
// differently.
func stampOf(info fs.FileInfo) stamp {
	return stamp{bytes: info.Size(), modified: info.ModTime(), changed: info.ModTime()}
}
