package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// dataFolder looks at the folder in which all is kept.
func dataFolder(_ context.Context, in *Installation) []Finding {
	folder := in.DataDir
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absentFolder(folder)
	case err != nil:
		return fail(err.Error(), "let the user who runs the service enter "+filepath.Dir(folder))
	case !info.IsDir():
		return fail(folder+" is no folder", "name another one with --data-dir, or move the file away")
	}
	var found []Finding
	if uid, ok := owner(info); ok && uid != os.Geteuid() {
		found = append(found, fail(fmt.Sprintf("%s belongs to user %d, and this is user %d", folder, uid, os.Geteuid()),
			"run the service and its commands as one user, or: chown -R "+fmt.Sprint(os.Geteuid())+" "+folder)...)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		what := fmt.Sprintf("%s can be looked into by others (%04o)", folder, mode)
		state := warn(what, "chmod 0700 "+folder)
		if mode&0o022 != 0 {
			state = fail(fmt.Sprintf("%s can be changed by others (%04o)", folder, mode), "chmod 0700 "+folder)
		}
		found = append(found, fixed(state, "set the rights of "+folder+" to 0700", func() error { return os.Chmod(folder, 0o700) })...)
	}
	if err := writable(folder); err != nil {
		found = append(found, fail("nothing can be written in "+folder+": "+err.Error(), "give the user who runs the service the right to write there, or free the disk")...)
	}
	onNetwork := func(folder string) {
		name := networkFileSystem(folder)
		if name == "" {
			return
		}
		found = append(found, warn(folder+" is on a network file system ("+name+"), on whose locks SQLite can't rely", "keep the data on a disk of this machine, or use PostgreSQL: --database-url")...)
	}
	if in.DatabasePath != "" {
		onNetwork(folder)
		if other := filepath.Dir(in.DatabasePath); other != folder {
			onNetwork(other)
		}
	}
	return gather(ok(folder), found)
}

func absentFolder(folder string) []Finding {
	parent := folder
	for {
		parent = filepath.Dir(parent)
		if _, err := os.Stat(parent); err == nil || parent == filepath.Dir(parent) {
			break
		}
	}
	if err := writable(parent); err != nil {
		return fail(folder+" isn't there, and can't be made: "+err.Error(), "make it and give it to the user who runs the service, or name another one with --data-dir")
	}
	return fixed(warn(folder+" isn't there yet; the first start makes it", "mkdir -p -m 0700 "+folder),
		"make "+folder, func() error { return os.MkdirAll(folder, 0o700) })
}

// writable tries, and leaves nothing.
func writable(folder string) error {
	file, err := os.CreateTemp(folder, ".doctor-")
	if err != nil {
		return err
	}
	_, err = file.WriteString("x")
	return errors.Join(err, file.Close(), os.Remove(file.Name()))
}

func owner(info fs.FileInfo) (uid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

// privateFiles looks at files that hold secrets, or what only the service may know.
func privateFiles(_ context.Context, in *Installation) []Finding {
	paths := append([]string{}, in.Credentials.Files...)
	if in.DatabasePath != "" {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			paths = append(paths, in.DatabasePath+suffix)
		}
	}
	if in.TLSKey != "" {
		paths = append(paths, in.TLSKey)
	}
	if in.ClaudeHome != "" {
		paths = append(paths, loginFile(in.ClaudeHome))
	}
	patterns := []string{"tasks.db*", "keys/*.key", "bench.jsonl"}
	for _, pattern := range patterns {
		more, _ := filepath.Glob(filepath.Join(in.DataDir, pattern)) // the patterns are well-formed
		paths = append(paths, more...)
	}
	count := 0
	found := each(paths, func(path string) []Finding { return privateFile(path) })
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			count++
		}
	}
	return gather(okay("%d files, no other user's business", count), found)
}

func privateFile(path string) []Finding {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 {
		return nil // what must be there, other checks miss
	}
	mode := info.Mode().Perm()
	what := fmt.Sprintf("%s can be read by others (%04o)", path, mode)
	if strings.HasSuffix(path, ".pem") && mode&0o037 == 0 {
		return nil // a group of its own, as certbot and Debian's ssl-cert have it
	}
	found := fail(what, "chmod 0600 "+path)
	if link, err := os.Lstat(path); err != nil || !link.Mode().IsRegular() {
		return found // whoever may write in the folder has chosen where it leads
	}
	return fixed(found, "set the rights of "+path+" to 0600", func() error { return setRights(path, 0o600) })
}

// setRights sets the rights of a file or a socket. It follows no link that leads out of its
// folder, also where one has just been put there: the folder may be another user's than who
// mends.
func setRights(path string, mode fs.FileMode) error {
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Chmod(filepath.Base(path), mode), folder.Close())
}

// How much of a disk must be free: below the first the service is about to fail.
const (
	leastFree  = 100 << 20
	littleFree = 1 << 30
)

func disk(_ context.Context, in *Installation) []Finding {
	type place struct{ path, what string }
	places := []place{{in.DataDir, "data"}, {in.TempDir, "the workers' folders"}}
	var said []string
	found := gather(nil)
	for _, p := range places {
		folder := p.path
		for folder != filepath.Dir(folder) {
			if _, err := os.Stat(folder); err == nil {
				break
			}
			folder = filepath.Dir(folder)
		}
		free, err := freeBytes(folder)
		if err != nil {
			found = append(found, warn("how much is free in "+folder+" can't be told: "+err.Error(), "see whether the file system is well")...)
			continue
		}
		found = append(found, judgeFree(p.what, folder, free)...)
		said = append(said, fmt.Sprintf("%s free for %s", bytesText(free), p.what))
	}
	return gather(ok(strings.Join(said, ", ")), found)
}

func judgeFree(what, folder string, free uint64) []Finding {
	text := fmt.Sprintf("%s free for %s in %s", bytesText(free), what, folder)
	mend := "free some, or move it: --data-dir, or TMPDIR for the workers' folders"
	switch {
	case free < leastFree:
		return fail("only "+text, mend)
	case free < littleFree:
		return warn("only "+text, mend)
	}
	return nil
}

func bytesText(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// slowDatabase is what a question over a network should take at most: each request
// waits for one commit.
const slowDatabase = 20 * time.Millisecond

func database(ctx context.Context, in *Installation) []Finding {
	if in.Look == nil {
		return skip("there is nothing to look at it with")
	}
	d, err := in.Look(ctx)
	if err != nil {
		mend := "see that the server runs and that the URL names an existing database and a user of it"
		if in.DatabasePath != "" {
			mend = "if the file is damaged: stop the service, move it away and put the last backup in its place (docs/storage.md)"
		}
		return fail(err.Error(), mend)
	}
	if !d.Exists {
		return ok(d.Kind + ": not there yet; the first start makes it")
	}
	text := fmt.Sprintf("%s %s, schema %d, answers in %.1f ms", d.Kind, d.Version, d.Schema, float64(d.Latency.Microseconds())/1000)
	switch {
	case d.Schema > d.Target:
		return fail(fmt.Sprintf("%s: a newer version of this program has changed it (this one knows schema %d)", text, d.Target), "install the newer version, or put the backup from before the change in its place")
	case d.Schema < d.Target:
		return warn(fmt.Sprintf("%s: the next start brings it to schema %d", text, d.Target), "back it up, then start this version; older versions don't read it afterwards")
	case d.Latency > slowDatabase:
		return warn(text+": every answer waits for one commit there", "put the database nearer to the service")
	}
	return ok(text)
}

func keys(ctx context.Context, in *Installation) []Finding {
	if in.Look == nil {
		return skip("there is nothing to look at them with")
	}
	d, err := in.Look(ctx)
	if err != nil {
		return skip("the database can't be read")
	}
	callers := d.Keys - d.Admins
	if callers == 0 {
		return warn("there is no key that works: nobody can call the service", "claude-api keys create --project-id NAME")
	}
	return okay("%d for callers, %d to administer the service", callers, d.Admins)
}
