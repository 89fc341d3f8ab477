package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
)

var errGone = errors.New("there is no such process")

// birth tells a process from any other that has its number before or after it: by the
// boot of the machine, and the clock tick after it at which the process began
// (proc(5), starttime). A process that has ended and wasn't waited for has none.
func birth(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", errors.Join(errGone, err)
	}
	// The program's name, in brackets, may hold anything. What follows begins with the
	// third field, the state; starttime is the 22nd.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat can't be read", pid)
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' {
		return "", errGone
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(boot)) + "/" + string(fields[19]), nil
}
