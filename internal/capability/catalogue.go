// Package capability finds the agents and skills that the CLI offers to a model, and
// watches the folders that they are in. What is said of the CLI was observed on
// versions 2.1.197 and 2.1.331, and is tested against both.
package capability

import (
	"cmp"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"claude-code-api-service/internal/gateway"
)

// DefaultRescan is how often all folders are read again: what a watch has missed, on a
// file system that tells nothing, is known by then.
const DefaultRescan = time.Minute

// maxProjects bounds the projects that are watched; the one that was asked for least
// recently gives way.
const maxProjects = 32

// Origin says where an agent or a skill comes from.
type Origin string

// The origins.
const (
	BuiltIn Origin = "built-in" // the CLI's own
	Home    Origin = "home"
	Project Origin = "project" // the CLI finds it in the folder that it works in
)

// Agent is a sub-agent that a model may start.
type Agent struct {
	Name        string
	Description string
	Tools       []string // those that it works with; nil: all
	Model       string   // "": the one of who starts it
	Origin      Origin
	Path        string // its file, in the folder of its origin; "" where it is built in
}

// Skill is a skill that a model may invoke. Its name is its folder's.
type Skill struct {
	Name        string
	Description string
	Tools       []string // those that it may use without being asked for
	Origin      Origin
	Path        string // its folder, in that of its origin; "" where it is built in
}

// Options are what a Catalogue needs. The zero value knows what is built into the CLI.
type Options struct {
	// Home is the HOME of the CLI, whose .claude/agents and .claude/skills are read;
	// "": there is none.
	Home   string
	Rescan time.Duration // 0 is DefaultRescan
	Log    *slog.Logger  // hears what is left out; nil is silent

	heard  func() // after each reading that wasn't asked for; nil: nobody
	notify func() (*fsnotify.Watcher, error)
}

// Catalogue knows the agents and skills of a HOME and of projects. Its answers come
// from memory, but the first for a project. It is safe for concurrent use. Close must
// be called.
type Catalogue struct {
	log    *slog.Logger
	rescan time.Duration
	watch  *watch

	mu       sync.Mutex
	home     *folder // nil without a HOME
	projects map[string]*folder
	uses     uint64 // counts the questions, for each project's last use
}

// New makes a Catalogue and reads the HOME.
func New(options Options) *Catalogue {
	c := &Catalogue{
		log: options.Log, rescan: cmp.Or(options.Rescan, DefaultRescan), projects: map[string]*folder{},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if options.notify == nil {
		options.notify = fsnotify.NewWatcher
	}
	c.watch = newWatch(c, options.notify, options.heard)
	if options.Home != "" {
		c.home = &folder{path: filepath.Clean(options.Home), origin: Home}
		c.read(c.home)
	}
	go c.watch.run()
	return c
}

// Close ends the watching. What is known stays.
func (c *Catalogue) Close() { c.watch.close() }

// Agents gives the agents that a run may start which works in a folder, by name; with
// "" those that any run may. Where two have one name, the project's is the CLI's
// choice, then the HOME's. The caller must not change what the slices inside hold.
func (c *Catalogue) Agents(directory string) []Agent {
	home, project := c.found(directory)
	return merged(func(a Agent) string { return a.Name }, project.agents, home.agents, builtInAgents())
}

// Skills gives the skills, as Agents does the agents. Where two have one name, the
// HOME's is the CLI's choice.
func (c *Catalogue) Skills(directory string) []Skill {
	home, project := c.found(directory)
	return merged(func(s Skill) string { return s.Name }, home.skills, project.skills, builtInSkills())
}

// Agent gives the path of one of the HOME's agents, "" where there is none of that
// name.
func (c *Catalogue) Agent(name string) string {
	home, _ := c.found("")
	for _, a := range home.agents {
		if a.Name == name {
			return a.Path
		}
	}
	return ""
}

// Skill gives the path of one of the HOME's skills, as Agent does an agent's.
func (c *Catalogue) Skill(name string) string {
	home, _ := c.found("")
	for _, s := range home.skills {
		if s.Name == name {
			return s.Path
		}
	}
	return ""
}

// Allowed is what one profile allows of what there is.
type Allowed struct {
	Agents []Agent
	Skills []Skill
	// Tools are names of the CLI's tools, and entries of the profile that name one
	// with a rule behind it, or a tool of an MCP server.
	Tools []string
}

// Allowed gives what the permissions allow to a run which works in a folder, or in one
// of its own: "".
func (c *Catalogue) Allowed(p gateway.Permissions, directory string) Allowed {
	return Allowed{
		Agents: slices.DeleteFunc(c.Agents(directory), func(a Agent) bool { return !listed(p.AllowedAgents, a.Name) }),
		Skills: slices.DeleteFunc(c.Skills(directory), func(s Skill) bool { return !listed(p.AllowedSkills, s.Name) }),
		Tools:  tools(p),
	}
}

func listed(allowed []string, name string) bool {
	return slices.Contains(allowed, gateway.All) || slices.Contains(allowed, name)
}

// found gives what is known of the HOME and of a project.
func (c *Catalogue) found(directory string) (home, project findings) {
	c.mu.Lock()
	if c.home != nil {
		home = c.home.findings
	}
	if !filepath.IsAbs(directory) {
		c.mu.Unlock()
		return home, project
	}
	c.uses++
	f, known := c.projects[directory]
	if known {
		f.used = c.uses
		project = f.findings
	}
	c.mu.Unlock()
	if !known {
		project = c.add(directory)
	}
	return home, project
}

// add reads a project for the first time.
func (c *Catalogue) add(directory string) findings {
	f := &folder{path: filepath.Clean(directory), origin: Project}
	c.read(f)
	c.mu.Lock()
	f.used = c.uses
	known, leaving := c.projects[directory], (*folder)(nil)
	switch {
	case known != nil:
		leaving = f // somebody else was faster
	case len(c.projects) >= maxProjects:
		leaving = slices.MinFunc(slices.Collect(maps.Values(c.projects)), func(a, b *folder) int { return cmp.Compare(a.used, b.used) })
		maps.DeleteFunc(c.projects, func(_ string, p *folder) bool { return p == leaving })
		fallthrough
	default:
		c.projects[directory] = f
	}
	found := f.findings
	c.mu.Unlock()
	if leaving != nil {
		c.watch.forget(leaving)
	}
	return found
}

// folders gives all that are watched.
func (c *Catalogue) folders() []*folder {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*folder
	if c.home != nil {
		all = append(all, c.home)
	}
	for _, f := range c.projects {
		all = append(all, f)
	}
	return all
}

// merged gives all of the lists by name; of those with one name the first.
func merged[T any](name func(T) string, lists ...[]T) []T {
	seen := map[string]bool{}
	all := []T{}
	for _, list := range lists {
		for _, item := range list {
			if !seen[name(item)] {
				seen[name(item)] = true
				all = append(all, item)
			}
		}
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(name(a), name(b)) })
	return all
}
