package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"claude-code-api-service/internal/gateway"
)

// Catalogue knows the configured agents and skills by their names. It is safe for
// concurrent use.
type Catalogue interface {
	// Agent gives the file of an agent, and Skill the folder of a skill, below the
	// configured home's .claude; "" where there is none of that name.
	Agent(name string) string
	Skill(name string) string
}

// claudeFolder is the CLI's folder in a home.
const claudeFolder = ".claude"

// shared are what every run sees of the configured home's .claude, beside its agents
// and skills: instructions, commands and settings of the operator.
var shared = []string{"CLAUDE.md", "rules", "commands", "settings.json", "output-styles"}

// loginVariable names the folder in which the CLI finds its login, and renews it: by
// replacing the file, which no link would outlive (seen with both versions).
const loginVariable = "CLAUDE_SECURESTORAGE_CONFIG_DIR"

// home is a run's private HOME.
type home struct {
	path string
	// reads are the folders outside of it to which it leads, without links: the CLI
	// may read them.
	reads []string
	// skills are those of them that the run's tools may read too.
	skills []string
	// login is the folder that has the CLI's login, which stays where it is; "" where
	// there is another credential.
	login string
}

// makeHome prepares a HOME in a folder: links to what the run may use of the
// configured .claude, so that nothing else of it exists for the CLI, and to where the
// CLI keeps the key's sessions.
func (r *Runner) makeHome(folder string, p place, agents, skills []string) (home, error) {
	h := home{path: filepath.Join(folder, "home")}
	inner := filepath.Join(h.path, claudeFolder)
	for _, name := range []string{inner, filepath.Join(inner, "agents"), filepath.Join(inner, "skills")} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			return home{}, fmt.Errorf("make a run's home: %w", err)
		}
	}
	if err := os.Symlink(p.projects(), filepath.Join(inner, projectsFolder)); err != nil {
		return home{}, fmt.Errorf("make a run's home: %w", err)
	}
	if r.options.Home == "" {
		return h, nil
	}
	l := linker{from: filepath.Join(r.options.Home, claudeFolder), to: inner, home: &h, within: r.options.Home}
	if r.options.Login {
		l.within = l.from
	}
	for _, name := range shared {
		l.link(filepath.Join(l.from, name), name)
	}
	for _, path := range l.choose("agents", agents, r.options.Catalogue.Agent) {
		l.link(path, filepath.Join("agents", filepath.Base(path)))
	}
	for _, path := range l.choose("skills", skills, r.options.Catalogue.Skill) {
		if target := l.link(path, filepath.Join("skills", filepath.Base(path))); target != "" {
			h.skills = append(h.skills, target)
		}
	}
	if r.options.Login {
		h.login = l.from
	}
	return h, l.err
}

// writes are the folders outside of it that the CLI writes in: it keeps sessions, and
// renews its login.
func (h home) writes(p place) []string {
	if h.login == "" {
		return []string{p.projects()}
	}
	return []string{p.projects(), h.login}
}

// denies are rules by which the CLI refuses to read its login, also where it asks
// nobody: a skill or command that names a file with an @ in front holds that file.
func (h home) denies() []string {
	if h.login == "" {
		return nil
	}
	return []string{"Read(/" + filepath.Join(h.login, ".credentials.json") + ")"}
}

// linker makes links in a run's home to what is in the configured one.
type linker struct {
	from, to string
	// within is the folder out of which nothing may lead: HOME, as for the catalogue. Where
	// the CLI renews its login there, its tools can write in .claude, and nothing that leads
	// out of that was meant by the operator for certain.
	within string
	home   *home
	err    error
}

// link makes one, and gives where it leads; "" where there is nothing to lead to.
func (l *linker) link(path, name string) string {
	below, err := filepath.Rel(l.from, path)
	if err != nil || !filepath.IsLocal(below) || below == "." {
		return "" // the catalogue is wrong
	}
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if limit, _ := filepath.EvalSymlinks(l.within); err == nil && !within(limit, target) {
		return ""
	}
	if err == nil {
		err = os.Symlink(path, filepath.Join(l.to, name))
	}
	if err != nil {
		if !errors.Is(err, fs.ErrExist) { // two names of one file
			l.err = errors.Join(l.err, fmt.Errorf("link what a run may use: %w", err))
		}
		return ""
	}
	l.home.reads = append(l.home.reads, target)
	return target
}

// choose gives the paths of those that are named, or of all that there are.
func (l *linker) choose(folder string, names []string, find func(name string) string) []string {
	if slices.Contains(names, gateway.All) {
		entries, _ := os.ReadDir(filepath.Join(l.from, folder)) // where there is none, there are none
		var paths []string
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") {
				paths = append(paths, filepath.Join(l.from, folder, e.Name()))
			}
		}
		return paths
	}
	var paths []string
	for _, name := range names {
		if path := find(name); path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// byFile is the Catalogue of a home whose agents and skills are called like their
// files.
type byFile struct{ folder string }

// Agent implements Catalogue.
func (b byFile) Agent(name string) string { return b.find("agents", name+".md") }

// Skill implements Catalogue.
func (b byFile) Skill(name string) string { return b.find("skills", name) }

// find looks for a file by the names that there are: no path is made of a caller's
// text.
func (b byFile) find(kind, file string) string {
	entries, err := os.ReadDir(filepath.Join(b.folder, kind))
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if e.Name() == file {
			return filepath.Join(b.folder, kind, e.Name())
		}
	}
	return ""
}
