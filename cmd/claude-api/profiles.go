package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
)

type profilesCommand struct {
	List   listProfilesCommand  `cmd:"" help:"List profiles."`
	Show   showProfileCommand   `cmd:"" help:"Show a profile."`
	Set    setProfileCommand    `cmd:"" help:"Make a profile, or change one; the keys that have it are held to it at once."`
	Delete deleteProfileCommand `cmd:"" help:"Delete a profile that no key has."`
}

// permissionFields are written as the service writes a custom profile, so that
// profiles set reads what profiles show writes.
func permissionFields() []column[gateway.Permissions] {
	return []column[gateway.Permissions]{
		{name: "allowed_tools", title: "Tools", value: func(p gateway.Permissions) any { return p.AllowedTools }},
		{name: "blocked_tools", title: "Blocked", value: func(p gateway.Permissions) any { return p.BlockedTools }},
		{name: "allowed_agents", title: "Agents", value: func(p gateway.Permissions) any { return p.AllowedAgents }},
		{name: "allowed_skills", title: "Skills", value: func(p gateway.Permissions) any { return p.AllowedSkills }},
		{name: "max_cost_per_task", title: "USD a task", value: func(p gateway.Permissions) any {
			if p.MaxCostMicroUSD == 0 {
				return nil
			}
			return usd(p.MaxCostMicroUSD)
		}},
		{name: "max_timeout", title: "Timeout", value: func(p gateway.Permissions) any { return p.MaxTimeout }},
		{name: "working_directories", title: "Directories", value: func(p gateway.Permissions) any { return p.WorkingDirectories }},
	}
}

func profileFields() []column[apikey.Profile] {
	return append([]column[apikey.Profile]{
		{name: "name", title: "Name", value: func(p apikey.Profile) any { return p.Name }},
	}, of(permissionFields(), func(p apikey.Profile) gateway.Permissions { return p.Permissions })...)
}

// of gives the columns of a part to the whole.
func of[Part, Whole any](columns []column[Part], part func(Whole) Part) []column[Whole] {
	list := make([]column[Whole], 0, len(columns))
	for _, c := range columns {
		list = append(list, column[Whole]{name: c.name, title: c.title, nested: c.nested, value: func(w Whole) any { return c.value(part(w)) }})
	}
	return list
}

type listProfilesCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
}

func (c *listProfilesCommand) Run() error {
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		list, err := keys.Profiles(ctx)
		if err != nil {
			return err
		}
		return printList(os.Stdout, c.Output, profileFields(), list)
	})
}

type showProfileCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	Name        string `arg:"" help:"The profile's name."`
}

func (c *showProfileCommand) Run() error {
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		profile, err := keys.Profile(ctx, c.Name)
		if err != nil {
			return err
		}
		return printOne(os.Stdout, c.Output, profileFields(), profile)
	})
}

type setProfileCommand struct {
	config.Data     `embed:""`
	listOutput      `embed:""`
	Name            string `arg:"" help:"The profile's name: a-z 0-9 -."`
	File            string `help:"A YAML or JSON file with all of it, in the names that profiles show -o json writes; \"-\" reads standard input." placeholder:"FILE"`
	permissionFlags `embed:""`
}

// permissionFlags are what a profile may be given in place of a file.
type permissionFlags struct {
	AllowedTools       []string      `help:"Tools of the CLI; \"*\" is all."`
	BlockedTools       []string      `help:"Tools that are blocked also where all are allowed."`
	AllowedAgents      []string      `help:"Agents; \"*\" is all."`
	AllowedSkills      []string      `help:"Skills; \"*\" is all."`
	MaxCostPerTask     usd           `help:"The most US dollars that a task may cost, such as 0.50; 0: no limit." placeholder:"AMOUNT"`
	MaxTimeout         time.Duration `help:"The longest that a task may run, such as 10m; 0: no limit."`
	WorkingDirectories []string      `help:"Absolute paths of the folders in which tasks may work; \"*\" is all." placeholder:"PATH,..."`
}

func (c *setProfileCommand) Run() error {
	permissions := gateway.Permissions{
		AllowedTools: c.AllowedTools, BlockedTools: c.BlockedTools, AllowedAgents: c.AllowedAgents, AllowedSkills: c.AllowedSkills,
		MaxCostMicroUSD: int64(c.MaxCostPerTask), MaxTimeout: c.MaxTimeout, WorkingDirectories: c.WorkingDirectories,
	}
	if c.File != "" {
		if len(c.AllowedTools)+len(c.BlockedTools)+len(c.AllowedAgents)+len(c.AllowedSkills)+len(c.WorkingDirectories) > 0 ||
			c.MaxCostPerTask != 0 || c.MaxTimeout != 0 {
			return errors.New("--file: holds the whole profile; other flags can't be set beside it")
		}
		var err error
		if permissions, err = readPermissions(c.File); err != nil {
			return plain(err)
		}
	}
	profile := apikey.Profile{Name: c.Name, Permissions: permissions}
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		if err := keys.SetProfile(ctx, profile); err != nil {
			return err
		}
		return printOne(os.Stdout, c.Output, profileFields(), profile)
	})
}

// readPermissions reads a file in YAML, of which JSON is a part.
func readPermissions(path string) (gateway.Permissions, error) {
	read := func() ([]byte, error) { return os.ReadFile(path) }
	if path == fromInput {
		read = func() ([]byte, error) { return io.ReadAll(os.Stdin) }
	}
	data, err := read()
	if err != nil {
		return gateway.Permissions{}, fmt.Errorf("read the profile: %w", err)
	}
	var members map[string]any
	if err := yaml.Unmarshal(data, &members); err != nil {
		return gateway.Permissions{}, fmt.Errorf("read %s: %w", path, err)
	}
	delete(members, "name") // the argument is the name
	body, err := json.Marshal(members)
	if err != nil {
		return gateway.Permissions{}, fmt.Errorf("read %s: %w", path, err)
	}
	return apikey.ParsePermissions(body)
}

type deleteProfileCommand struct {
	config.Data `embed:""`
	Name        string `arg:"" help:"The profile's name."`
}

func (c *deleteProfileCommand) Run() error {
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		if err := keys.DeleteProfile(ctx, c.Name); err != nil {
			return err
		}
		printf("Deleted the profile %s.\n", c.Name)
		return nil
	})
}
