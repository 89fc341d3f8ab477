package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// reach is where a run's file tools may work. Folders are absolute and without links.
type reach struct {
	home  string   // what ~ stands for
	write []string // may be read and written: the run's directory, its temporary folder
	read  []string // may be read: skills, and what the CLI keeps of the session
}

const (
	outside = "the path is outside of this task's directory"
	guarded = "settings, hooks and repositories' own files can't be changed by this tool"
)

// writers are the tools that change files.
var writers = []string{"Write", "Edit", "MultiEdit", "NotebookEdit"}

// refuses gives the reason why a tool's use reaches too far; "": it doesn't. Links
// are followed: what counts is where a path leads. A shell that may be used freely
// could change the guarded files anyhow.
func (r reach) refuses(u use, shell bool) string {
	var input struct {
		FilePath  string `json:"file_path"`
		FilePath2 string `json:"filePath"`
		Notebook  string `json:"notebook_path"`
		Path      string `json:"path"`
		Folder    string `json:"cwd"`
		Pattern   string `json:"pattern"`
		Glob      string `json:"glob"`
	}
	if json.Unmarshal(u.input, &input) != nil {
		return "the input can't be read"
	}
	writes := slices.Contains(writers, u.tool)
	for _, name := range []string{input.FilePath, input.FilePath2, input.Notebook, input.Path, input.Folder} {
		if name == "" {
			continue
		}
		target, ok := r.resolve(u.folder, name)
		if !ok || !r.holds(target, writes) {
			return outside
		}
		if writes && !shell && r.guards(target) {
			return guarded
		}
	}
	// A pattern may lead elsewhere too.
	if u.tool == "Glob" && !r.pattern(u.folder, input.Path, input.Pattern) || slices.Contains(strings.Split(input.Glob, "/"), "..") {
		return outside
	}
	return ""
}

// pattern says that what a pattern begins with, up to its first wildcard, is within
// reach, and that nothing behind that leads up.
func (r reach) pattern(folder, path, pattern string) bool {
	if strings.ContainsAny(pattern, "~\\") {
		return false
	}
	fixed := pattern
	if at := strings.IndexAny(pattern, "*?[{"); at >= 0 {
		fixed = pattern[:strings.LastIndexByte(pattern[:at], '/')+1]
		if slices.Contains(strings.FieldsFunc(pattern[at:], func(c rune) bool { return strings.ContainsRune("/{},", c) }), "..") {
			return false
		}
	}
	if fixed == "" {
		return true
	}
	if !filepath.IsAbs(fixed) {
		fixed = filepath.Join(path, fixed)
	}
	target, ok := r.resolve(folder, fixed)
	return ok && r.holds(target, false)
}

func (r reach) holds(target string, write bool) bool {
	in := func(root string) bool { return within(root, target) }
	return slices.ContainsFunc(r.write, in) || !write && slices.ContainsFunc(r.read, in)
}

// resolve gives where a path leads, as the CLI reads it: blanks around it and a tilde
// in front count. What doesn't exist yet leads to where its folder does.
func (r reach) resolve(folder, name string) (string, bool) {
	name = strings.TrimSpace(name)
	if strings.ContainsRune(name, 0) {
		return "", false
	}
	if name == "~" || strings.HasPrefix(name, "~/") {
		name = r.home + name[1:]
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(folder, name)
	}
	name = filepath.Clean(name)
	for rest := ""; ; {
		target, err := filepath.EvalSymlinks(name)
		if err == nil {
			return filepath.Join(target, rest), true
		}
		// A link that leads nowhere would be followed by whoever writes.
		if isLink(name) || name == "/" {
			return "", false
		}
		rest = filepath.Join(filepath.Base(name), rest)
		name = filepath.Dir(name)
	}
}

// guards says that a file decides what runs: the CLI's settings and hooks, servers, or
// a repository's own.
func (r reach) guards(target string) bool {
	for _, root := range r.write {
		if below, err := filepath.Rel(root, target); err == nil && within(root, target) {
			parts := strings.Split(strings.ToLower(below), "/")
			return slices.Contains(parts, ".claude") || slices.Contains(parts, ".git") || filepath.Base(target) == ".mcp.json"
		}
	}
	return true
}

// within says whether a path is a folder or below it. Both are clean.
func within(folder, path string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// isLink says that there is a link of that name.
func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&os.ModeSymlink != 0
}
