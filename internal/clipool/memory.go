package clipool

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// FreeMemory tells how many bytes this machine has left for further processes; false
// where that can't be told.
func FreeMemory() (free int64, known bool) { return freeMemory(os.DirFS("/")) }

// freeMemory tells how many bytes processes can still take: what the kernel says
// that is available (proc(5), MemAvailable), or what a control group that this
// process is in leaves, if that is less. What a group holds of files that nobody
// has used lately counts as free: the kernel drops that first. root is the file
// system; false where it has no such files (macOS).
func freeMemory(root fs.FS) (free int64, known bool) {
	if free, known = number(root, "proc/meminfo", "MemAvailable:"); known {
		free <<= 10 // it is in kB
	}
	lower := func(folder, most, used, idle string) {
		limit, limited := number(root, path.Join(folder, most), "")
		now, ok := number(root, path.Join(folder, used), "")
		if !limited || !ok {
			return // "max", or no such group
		}
		files, _ := number(root, path.Join(folder, "memory.stat"), idle)
		left := limit - (now - files)
		if !known || left < free {
			free, known = left, true
		}
	}
	for folder := "sys/fs/cgroup/" + controlGroup(root, "0::"); ; folder = path.Dir(folder) {
		folder = path.Clean(folder)
		lower(folder, "memory.max", "memory.current", "inactive_file")
		if folder == "sys/fs/cgroup" {
			break
		}
	}
	for folder := "sys/fs/cgroup/memory/" + controlGroup(root, ":memory:"); ; folder = path.Dir(folder) {
		folder = path.Clean(folder)
		lower(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
		if folder == "sys/fs/cgroup/memory" {
			break
		}
	}
	return free, known
}

// controlGroup reads this process's control group from the line that holds a text
// (cgroups(7)), "" where there is none. It never leads out of its root.
func controlGroup(root fs.FS, text string) string {
	data, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if _, group, ok := strings.Cut(line, text); ok {
			return strings.TrimPrefix(path.Clean("/"+strings.TrimSpace(group)), "/")
		}
	}
	return ""
}

// number reads the number behind a name at a line's beginning; with no name, that
// which a file consists of.
func number(root fs.FS, file, name string) (int64, bool) {
	data, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if name != "" {
			if len(fields) < 2 || fields[0] != name {
				continue
			}
			fields = fields[1:]
		}
		if len(fields) == 0 {
			return 0, false
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		return n, err == nil
	}
	return 0, false
}
