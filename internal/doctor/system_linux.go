package doctor

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// networks are the file systems whose files lie on another machine (statfs(2)), or
// that pass locks on to who knows whom.
var networks = map[int64]string{
	unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", unix.SMB2_SUPER_MAGIC: "SMB", unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.AFS_SUPER_MAGIC: "AFS", unix.CODA_SUPER_MAGIC: "Coda", unix.V9FS_MAGIC: "9p", unix.CEPH_SUPER_MAGIC: "Ceph", unix.FUSE_SUPER_MAGIC: "FUSE",
}

// networkFileSystem names the one that a folder is on; "" for one of this machine.
func networkFileSystem(folder string) string {
	var stat unix.Statfs_t
	if unix.Statfs(folder, &stat) != nil {
		return ""
	}
	return networks[int64(stat.Type)] //nolint:unconvert // it is an int32 on some architectures
}

// processLimit is the most processes and threads that this user, or this container,
// may have; 0: no limit.
func processLimit() uint64 {
	var limit unix.Rlimit
	most := uint64(0)
	if unix.Getrlimit(unix.RLIMIT_NPROC, &limit) == nil && limit.Cur != unix.RLIM_INFINITY && os.Geteuid() != 0 {
		most = limit.Cur
	}
	if text, err := os.ReadFile("/sys/fs/cgroup/pids.max"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && (most == 0 || n < most) {
			most = n
		}
	}
	return most
}

// memoryBytes is how much memory there is for the service: the machine's, or the
// container's; 0 where that can't be told.
func memoryBytes() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	most := uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // they are narrower on some architectures
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && n < most {
			most = n
		}
	}
	return most
}
