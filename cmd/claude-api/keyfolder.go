package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// keyFolder is the folder of the keys' files, locked against others who provision.
// It is only read and written by names inside of it, and no symbolic link is
// followed.
type keyFolder struct {
	root *os.Root
	lock *os.File
}

// longestKeyFile is far more than a key.
const longestKeyFile = 4096

func openKeyFolder(path string) (*keyFolder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return nil, errors.Join(err, fmt.Errorf("%s must be a folder and no link", path))
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	folder := &keyFolder{root: root}
	if err := folder.take(); err != nil {
		folder.close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return folder, nil
}

// take waits for the lock. The system gives it up when the process ends.
func (f *keyFolder) take() (err error) {
	if err := f.root.Chmod(".", 0o700); err != nil {
		return err
	}
	if f.lock, err = f.root.OpenFile(".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600); err != nil {
		return err
	}
	return syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX)
}

// close has nothing to report: what was written was closed before.
func (f *keyFolder) close() {
	if f.lock != nil {
		_ = f.lock.Close()
	}
	_ = f.root.Close()
}

// read gives the key in a file, and takes away other people's rights to the file.
func (f *keyFolder) read(name string) (text string, err error) {
	info, err := f.root.Lstat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s must be a file and no link", name)
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Chmod(0o600); err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(file, longestKeyFile))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(data)), nil
}

// write puts a key into a file: all of it or nothing, also when the machine fails. A
// file that was there is kept under another name.
func (f *keyFolder) write(name, text string) (err error) {
	unfinished := name + ".new" // of a process that was killed, if there is one
	if err := f.root.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := f.root.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text + "\n")
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := f.keepFormer(name); err != nil {
		return err
	}
	return f.root.Rename(unfinished, name)
}

// mostFormer bounds the former files that are kept of one name.
const mostFormer = 1000

// keepFormer puts a file that is about to be replaced beside it, under a name that no
// file has: the key may be one of another database.
func (f *keyFolder) keepFormer(name string) error {
	for n := range mostFormer {
		former := name + ".old"
		if n > 0 {
			former = fmt.Sprintf("%s.%d", former, n+1)
		}
		err := f.root.Link(name, former)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is the first one
		}
		return err
	}
	return fmt.Errorf("there are %d former files of %s: remove some", mostFormer, name)
}
