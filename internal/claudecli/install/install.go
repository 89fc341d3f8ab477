// Package install finds the Claude Code CLI on a machine, or installs an exact
// version of it from npm into a cache folder.
package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

const (
	// Version is the CLI version that the service is built and tested with.
	Version = "2.1.331"
	// OlderVersion is an older one that must work by fall-back.
	OlderVersion = "2.1.197"
)

// ErrNoNPM means that the CLI isn't cached and there is no npm to get it with.
var ErrNoNPM = errors.New("npm isn't installed")

// npmTimeout bounds one installation: 200 to 400 MB are fetched.
const npmTimeout = 10 * time.Minute

// Find gives the path of a CLI: in PATH, where Anthropic's own installer puts it,
// or the pinned version that Ensure put into the cache folder. "" when there is
// none.
func Find() string {
	if path, err := exec.LookPath("claude"); err == nil {
		if absolute, err := filepath.Abs(path); err == nil {
			return absolute
		}
	}
	var candidates []string
	if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".local/bin/claude"), filepath.Join(home, ".claude/local/claude"))
	}
	if folder, err := CacheFolder(); err == nil {
		candidates = append(candidates, binary(filepath.Join(folder, Version)))
	}
	for _, path := range candidates {
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// binary is where npm puts the CLI below a folder.
func binary(home string) string {
	return filepath.Join(home, "node_modules", "@anthropic-ai", platformPackage(), "claude")
}

// CacheFolder is where installed versions are kept: in the user's cache folder.
func CacheFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(cache, "claude-code-api-service", "cli"), nil
}

var exactVersion = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

// Ensure gives the path of the CLI at exactly this version, from the folder or,
// where it isn't there, from npm. Progress is told when something is fetched.
// Two at once are safe: the one that finishes last uses the other's.
func Ensure(ctx context.Context, folder, version string, progress func(text string)) (string, error) {
	if !exactVersion.MatchString(version) {
		return "", fmt.Errorf("version %q isn't exact", version)
	}
	home := filepath.Join(folder, version)
	path := binary(home)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", ErrNoNPM
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	trial, err := os.MkdirTemp(folder, ".install-")
	if err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(trial) }() // gone already when all went well
	progress("installing Claude Code " + version + " from npm (about 400 MB, once) …")
	if err := npmInstall(ctx, npm, trial, "@anthropic-ai/"+platformPackage()+"@"+version); err != nil {
		return "", err
	}
	if err := os.Rename(trial, home); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, statErr := os.Stat(path); statErr != nil {
			return "", fmt.Errorf("keep the installed CLI: %w", err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the npm package holds no binary: %w", err)
	}
	return path, nil
}

// npmInstall fetches the platform's own package: it is the binary, so no script
// of a package needs to run.
func npmInstall(ctx context.Context, npm, folder, spec string) error {
	ctx, cancel := context.WithTimeout(ctx, npmTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "install", "--prefix", folder,
		"--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--force", spec)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		tail := output.Bytes()
		if len(tail) > 1_000 {
			tail = tail[len(tail)-1_000:]
		}
		return fmt.Errorf("npm install %s: %w\n%s", spec, err, tail)
	}
	return nil
}

// platformPackage is the npm package that holds the binary for this machine, as
// the optionalDependencies of @anthropic-ai/claude-code name them.
func platformPackage() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	name := "claude-code-" + runtime.GOOS + "-" + arch
	if runtime.GOOS == "linux" && musl() {
		name += "-musl"
	}
	return name
}

// musl says whether the system's C library is musl (Alpine).
func musl() bool {
	found, err := filepath.Glob("/lib/ld-musl-*")
	return err == nil && len(found) > 0
}
