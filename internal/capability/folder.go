package capability

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

const (
	// maxHead is how much of a file is read: front matter is far shorter.
	maxHead = 16 << 10
	// maxFiles bounds the agents, and the skills, of one folder; maxEntries bounds what is
	// looked at for them.
	maxFiles, maxEntries = 500, 5_000
)

// Where the CLI looks, below HOME and below a project.
const (
	claudeDir = ".claude"
	agentsDir = claudeDir + "/agents"
	skillsDir = claudeDir + "/skills"
	skillFile = "SKILL.md"
)

// safeName is what an agent or a skill may be called: names stand in profiles, requests
// and rules of the CLI.
var safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

var (
	errNotFile  = errors.New("it isn't a file")
	errBadName  = errors.New("its name isn't letters, digits, dots, hyphens and underscores")
	errNameless = errors.New("its front matter has no name or no description")
	errTwice    = errors.New("another one has its name")
	errTooMany  = errors.New("there are too many")
)

// folder is a HOME or a project. The Catalogue's lock guards what changes.
type folder struct {
	path   string
	origin Origin
	findings
	used   uint64
	warned []string // what the log has heard of the last reading
	// These are the watch's, which guards them.
	watching []string // see findings.places
	left     bool
}

// findings are what a reading of a folder gave.
type findings struct {
	agents []Agent
	skills []Skill
	// places are the folders in which a change would change the findings.
	places []string
}

// reading is one reading of a folder. It opens nothing that lies outside of it, links
// or not.
type reading struct {
	root   *os.Root
	origin Origin
	findings
	warnings []string
	entries  int
}

// readFolder reads a folder. What can't be used is left out, and named in the warnings.
func readFolder(path string, origin Origin) (findings, []string) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return findings{}, nil // it isn't there, or isn't there yet
	}
	defer func() { _ = root.Close() }() // nothing was written
	r := &reading{root: root, origin: origin}
	if _, err := root.Stat(claudeDir); err != nil {
		r.places = []string{path}
		return r.findings, nil
	}
	r.watch(claudeDir)
	r.readAgents(agentsDir)
	r.readSkills()
	return r.findings, r.warnings
}

func (r *reading) watch(name string) { r.places = append(r.places, filepath.Join(r.root.Name(), name)) }

func (r *reading) warn(name string, why error) {
	r.warnings = append(r.warnings, fmt.Sprintf("%s: %v", filepath.Join(r.root.Name(), name), why))
}

// list gives what is in a folder; nothing where that isn't one.
func (r *reading) list(name string) []fs.DirEntry {
	if r.entries >= maxEntries {
		return nil
	}
	d, err := r.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		r.warn(name, err)
		return nil
	}
	defer func() { _ = d.Close() }() // nothing was written
	entries, err := d.ReadDir(maxEntries - r.entries)
	if err != nil && !errors.Is(err, io.EOF) {
		r.warn(name, err)
		return nil
	}
	r.entries += len(entries)
	if r.entries >= maxEntries {
		r.warn(name, errTooMany)
	}
	r.watch(name)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries
}

// readAgents reads the agents of a folder and of those in it.
func (r *reading) readAgents(folder string) {
	for _, entry := range r.list(folder) {
		name := path.Join(folder, entry.Name())
		switch {
		case entry.IsDir():
			r.readAgents(name)
		case strings.HasSuffix(name, ".md"):
			if err := r.readAgent(name); err != nil {
				r.warn(name, err)
			}
		}
	}
}

func (r *reading) readAgent(name string) error {
	head, whole, err := r.head(name)
	if err != nil {
		return err
	}
	m, _, err := parse(head, whole)
	if err != nil {
		return err
	}
	a := Agent{Name: m.text("name"), Description: m.text("description"), Tools: m.names("tools"), Model: m.text("model"), Origin: r.origin}
	switch {
	case a.Name == "" || a.Description == "":
		return errNameless
	case !safeName.MatchString(a.Name):
		return errBadName
	case slices.ContainsFunc(r.agents, func(other Agent) bool { return other.Name == a.Name }):
		return errTwice
	case len(r.agents) >= maxFiles:
		return errTooMany
	}
	if a.Model == "inherit" {
		a.Model = ""
	}
	a.Path = filepath.Join(r.root.Name(), name)
	r.agents = append(r.agents, a)
	return nil
}

func (r *reading) readSkills() {
	for _, entry := range r.list(skillsDir) {
		name := path.Join(skillsDir, entry.Name())
		if entry.Type().IsRegular() {
			continue
		}
		r.watch(name)
		if err := r.readSkill(name); err != nil {
			r.warn(name, err)
		}
	}
}

// readSkill reads one folder. Without front matter, as older ones are, the description
// is its first line. One that a model may not invoke isn't offered to it.
func (r *reading) readSkill(folder string) error {
	head, whole, err := r.head(path.Join(folder, skillFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the CLI doesn't know it either
	}
	if err != nil {
		return err
	}
	m, rest, err := parse(head, whole)
	if err != nil && !errors.Is(err, errNoMatter) {
		return err
	}
	s := Skill{Name: path.Base(folder), Description: m.text("description"), Tools: m.names("allowed-tools"), Origin: r.origin}
	if s.Description == "" {
		s.Description = firstLine(rest)
	}
	switch {
	case m.flag("disable-model-invocation"):
		return nil
	case s.Description == "":
		return errNameless
	case !safeName.MatchString(s.Name):
		return errBadName
	case len(r.skills) >= maxFiles:
		return errTooMany
	}
	s.Path = filepath.Join(r.root.Name(), folder)
	r.skills = append(r.skills, s)
	return nil
}

// head reads the beginning of a file; whole says that it is all of it.
func (r *reading) head(name string) (head []byte, whole bool, err error) {
	// It mustn't wait for somebody who writes into a pipe.
	f, err := r.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, errNotFile
	}
	head, err = io.ReadAll(io.LimitReader(f, maxHead+1))
	if err != nil {
		return nil, false, err
	}
	if whole = len(head) <= maxHead; !whole {
		head = head[:maxHead]
	}
	return head, whole, nil
}
