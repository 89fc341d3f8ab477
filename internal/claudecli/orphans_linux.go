package claudecli

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// endMarked kills the processes that bear a marker and gives their ids.
func endMarked(markers []string) []int {
	folders, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	var pids []int
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err == nil && pid != os.Getpid() && bearsMarker(pid, markers) && end(pid, markers) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// bearsMarker says that a process of this user, which hasn't ended, was started
// with one of the markers.
func bearsMarker(pid int, markers []string) bool {
	folder := "/proc/" + strconv.Itoa(pid)
	info, err := os.Stat(folder)
	if err != nil {
		return false
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Geteuid() {
		return false
	}
	environment, err := os.ReadFile(folder + "/environ") // empty once it has ended
	if err != nil {
		return false
	}
	for variable := range bytes.SplitSeq(environment, []byte{0}) {
		for _, marker := range markers {
			if string(variable) == marker {
				return true
			}
		}
	}
	return false
}

// end kills a process that bears a marker, and its group if that is its own: its
// leader bears the marker too, or is gone. A group can't get another meaning while
// one that belongs to it is alive.
func end(pid int, markers []string) bool {
	process, err := os.FindProcess(pid) // holds a pidfd
	if err != nil {
		return false
	}
	defer func() { _ = process.Release() }()
	if !bearsMarker(pid, markers) {
		return false // it was another one's id by the time that it was held
	}
	group := groupOf(pid)
	if process.Signal(syscall.Signal(0)) != nil {
		return false // it has ended, and the group may be another one's who has got the id
	}
	if group > 1 && group != syscall.Getpgrp() && (bearsMarker(group, markers) || groupOf(group) == 0) {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	_ = process.Signal(os.Kill) // it may have ended with its group
	return true
}

// groupOf reads a process's group from /proc/PID/stat (proc(5): pid (name) state
// parent group), 0 when it has ended.
func groupOf(pid int) int {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 3 || fields[0] == "Z" {
		return 0
	}
	group, err := strconv.Atoi(fields[2])
	if err != nil {
		return 0
	}
	return group
}
