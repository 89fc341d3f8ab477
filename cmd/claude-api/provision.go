package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/config"
)

type provisionKeyCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	ID          string `arg:"" help:"Who the key is for: A-Z a-z 0-9 . _ -, also the project's id when --project-id isn't set."`
	ProjectID   string `help:"The project that the key belongs to."`
	Profile     string `help:"What a new key allows." default:"${default_profile}"`
	RateLimit   int    `help:"Requests per minute of a new key; 0: no limit." default:"100"`
	Renew       bool   `help:"Put a new key in the place of one that is revoked, expired or unknown."`
	Quiet       bool   `short:"q" help:"Print only the key."`
}

// Run gives the key of a name: the one in its file, or a new one, which it writes
// there. Two at once get the same key.
func (c *provisionKeyCommand) Run() error {
	if err := apikey.CheckProjectID(c.ID); err != nil || strings.HasPrefix(c.ID, ".") {
		return errors.New("ID must be 1 to 64 characters of A-Z a-z 0-9 . _ -, and not begin with a full stop")
	}
	folder, err := openKeyFolder(filepath.Join(c.DataDir, "keys"))
	if err != nil {
		return err
	}
	defer folder.close()
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		text, err := c.provide(ctx, keys, folder)
		if err != nil {
			return err
		}
		if c.Quiet {
			printf("%s\n", text)
			return nil
		}
		return printOne(os.Stdout, c.Output, []column[string]{
			{name: "key", title: "Key", value: func(text string) any { return text }},
			{name: "file", title: "File", value: func(string) any { return filepath.Join(c.DataDir, "keys", c.file()) }},
		}, text)
	})
}

func (c *provisionKeyCommand) file() string { return c.ID + ".key" }

func (c *provisionKeyCommand) provide(ctx context.Context, keys *apikey.Keys, folder *keyFolder) (string, error) {
	text, err := folder.read(c.file())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	default:
		account, err := keys.Check(ctx, text)
		if err == nil && c.ProjectID != "" && account.Key.ProjectID != c.ProjectID {
			return "", fmt.Errorf("the key of %s belongs to the project %s", c.ID, account.Key.ProjectID)
		}
		if err == nil {
			return text, nil
		}
		if !refused(err) {
			return "", err
		}
		if !c.Renew {
			return "", fmt.Errorf("%s: %w; --renew makes a new one", filepath.Join("keys", c.file()), plain(err))
		}
	}
	project := c.ProjectID
	if project == "" {
		project = c.ID
	}
	text, _, err = keys.Create(ctx, apikey.Create{ProjectID: project, Name: c.ID, Profile: c.Profile, RequestsPerMinute: &c.RateLimit})
	if err != nil {
		return "", err
	}
	return text, folder.write(c.file(), text)
}

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

// write puts a key into a file: all of it or nothing, also when the machine fails.
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
	return f.root.Rename(unfinished, name)
}
