package claudecli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// findMarked gives the processes that bear a marker.
func findMarked(markers []string) []int {
	folders, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	var pids []int
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err == nil && pid != os.Getpid() && bearsMarker(pid, markers) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// endMarked kills the processes that bear a marker and gives their ids.
func endMarked(markers []string) []int {
	return slices.DeleteFunc(findMarked(markers), func(pid int) bool { return !end(pid, markers) })
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

// groupOf is a process's group, 0 when it has ended.
func groupOf(pid int) int { return stat(pid).group }

// status is what /proc/PID/stat says of a process that hasn't ended; the zero one else.
type status struct{ parent, group int }

// stat reads it (proc(5): pid (name) state parent group).
func stat(pid int) status {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return status{}
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 3 || fields[0] == "Z" {
		return status{}
	}
	parent, err := strconv.Atoi(fields[1])
	group, groupErr := strconv.Atoi(fields[2])
	if err != nil || groupErr != nil {
		return status{}
	}
	return status{parent, group}
}

// endChildren kills what is below a process, and says whether there was anything.
func endChildren(pid int) (found bool) {
	folders, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	children := map[int][]int{}
	for _, folder := range folders {
		if child, err := strconv.Atoi(filepath.Base(folder)); err == nil {
			parent := stat(child).parent
			children[parent] = append(children[parent], child)
		}
	}
	for parents := []int{pid}; len(parents) > 0; parents = parents[1:] {
		parent := parents[0]
		for _, child := range children[parent] {
			parents = append(parents, child)
			found = true
			process, err := os.FindProcess(child) // holds a pidfd
			if err != nil {
				continue
			}
			if now := stat(child).parent; now == parent || now == pid {
				_ = process.Signal(os.Kill) // it may have ended
			}
			_ = process.Release()
		}
	}
	return found
}
