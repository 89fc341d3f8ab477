package supervise

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var errGone = errors.New("there is no such process")

// zombie is SZOMB of sys/proc.h.
const zombie = 5

// birth tells a process from any other that has its number before or after it: by the
// microsecond at which it began. A process that has ended and wasn't waited for has
// none.
func birth(pid int) (string, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", errors.Join(errGone, err)
	}
	if int(info.Proc.P_pid) != pid || info.Proc.P_stat == zombie {
		return "", errGone
	}
	began := info.Proc.P_starttime
	return fmt.Sprintf("%d.%06d", began.Sec, began.Usec), nil
}
