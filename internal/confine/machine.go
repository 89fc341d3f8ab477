package confine

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Machine gives what a program needs of a machine that has nothing to do with it:
// libraries, certificates, names of hosts, and what the kernel says of the process
// and the processors. Of other processes /proc tells what it tells everybody, not
// their memory or environment.
func Machine() Rules {
	r := Rules{
		Read: []string{
			"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local/lib", "/nix/store", "/gnu/store",
			"/usr/share", "/usr/local/share",
			"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld-musl-x86_64.path", "/etc/ld-musl-aarch64.path",
			"/etc/localtime", "/etc/timezone", "/etc/os-release",
			"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
			"/etc/passwd", "/etc/group",
			// Not the whole of /etc/ssl: its folder private holds keys.
			"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/ssl/openssl.cnf", "/etc/crypto-policies",
			"/etc/ca-certificates", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf",
			"/proc", "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage",
			"/dev/random", "/dev/urandom", "/dev/zero",
		},
		Write: []string{"/dev/null"},
	}
	// Whoever manages resolv.conf replaces it: a rule for the file would stay with
	// the old one.
	if target, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil && within("/run", target) {
		r.Read = append(r.Read, filepath.Dir(target))
	}
	return r
}

// everyProgram is where a machine's programs are.
var everyProgram = []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store", "/opt"}

// Programs gives what a program needs that runs the machine's others, beside
// Machine: them, and the settings for all users that they read.
func Programs() Rules {
	return Rules{
		Run: append(slices.Clone(everyProgram), "/usr"),
		Read: []string{
			"/etc/bash.bashrc", "/etc/profile", "/etc/profile.d", "/etc/inputrc", "/etc/alternatives", "/etc/shells", "/etc/environment",
			"/etc/gitconfig", "/etc/mime.types", "/etc/magic", "/etc/debian_version", "/etc/lsb-release", "/etc/npmrc",
		},
		Write: []string{"/dev/full", "/dev/tty"},
	}
}

// Program gives what running a program needs beside Machine. A binary may be run
// itself, and what loads it. A script needs its interpreter, and whatever that runs:
// the machine's programs, and what is in the script's own folder.
func Program(path string) (Rules, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Rules{}, fmt.Errorf("find the program: %w", err)
	}
	r := Rules{Run: []string{target}}
	binary, err := elf.Open(target)
	var format *elf.FormatError
	// One that may be run but not read counts as a script too.
	if errors.As(err, &format) || errors.Is(err, fs.ErrPermission) {
		r.Run = append(r.Run, everyProgram...)
		if folder := filepath.Dir(target); !holdsHome(folder) {
			r.Run = append(r.Run, folder)
		}
		return r, nil
	}
	if err != nil {
		return Rules{}, fmt.Errorf("read the program: %w", err)
	}
	defer func() { _ = binary.Close() }() // it was read
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 { // PATH_MAX
			loader := make([]byte, p.Filesz)
			if _, err := p.ReadAt(loader, 0); err != nil {
				return Rules{}, fmt.Errorf("read the program: %w", err)
			}
			r.Run = append(r.Run, string(bytes.TrimRight(loader, "\x00")))
		}
	}
	return r, nil
}

// holdsHome says whether a folder is or holds the user's home: a script that lies
// there must not make it readable.
func holdsHome(folder string) bool {
	home, err := os.UserHomeDir()
	return err != nil || strings.TrimSpace(home) == "" || within(folder, home)
}
