package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
)

type setProfileCommand struct {
	config.Data     `embed:""`
	listOutput      `embed:""`
	Name            string `arg:"" help:"The profile's name: a-z 0-9 -."`
	File            string `help:"A YAML or JSON file with the whole profile, in the names that profiles show -o json writes, in place of all that it was; \"-\" reads standard input." placeholder:"FILE"`
	permissionFlags `embed:""`
}

// permissionFlags are what may be set of a profile without a file. What isn't named
// stays as it is; of a new profile it is nothing, and no limit.
type permissionFlags struct {
	AllowedTools       nameList `help:"Tools of the CLI; \"*\" is all, \"none\" empties the list." placeholder:"NAME,..."`
	BlockedTools       nameList `help:"Tools that are blocked also where all are allowed." placeholder:"NAME,..."`
	AllowedAgents      nameList `help:"Agents; \"*\" is all." placeholder:"NAME,..."`
	AllowedSkills      nameList `help:"Skills; \"*\" is all." placeholder:"NAME,..."`
	MaxCostPerTask     *usd     `help:"The most US dollars that a task may cost, such as 0.50; 0: no limit." placeholder:"AMOUNT"`
	MaxTimeout         *howLong `help:"The longest that a task may run, such as 10m; 0: no limit." placeholder:"DURATION"`
	WorkingDirectories nameList `help:"Absolute paths of the folders in which tasks may work; \"*\" is all." placeholder:"PATH,..."`
}

// nameList is a list of names with commas between them. The flag may be set more
// than once.
type nameList struct {
	names []string
	set   bool
}

// noNames empties a list, as an empty text does.
const noNames = "none"

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *nameList) UnmarshalText(text []byte) error {
	l.set = true
	if len(text) > 0 && string(text) != noNames {
		l.names = append(l.names, strings.Split(string(text), ",")...)
	}
	return nil
}

func (f *permissionFlags) named() bool {
	return f.AllowedTools.set || f.BlockedTools.set || f.AllowedAgents.set || f.AllowedSkills.set || f.WorkingDirectories.set ||
		f.MaxCostPerTask != nil || f.MaxTimeout != nil
}

// change sets what is named.
func (f *permissionFlags) change(p *gateway.Permissions) {
	for _, list := range [...]struct {
		field *[]string
		wish  nameList
	}{
		{&p.AllowedTools, f.AllowedTools}, {&p.BlockedTools, f.BlockedTools}, {&p.AllowedAgents, f.AllowedAgents},
		{&p.AllowedSkills, f.AllowedSkills}, {&p.WorkingDirectories, f.WorkingDirectories},
	} {
		if list.wish.set {
			*list.field = list.wish.names
		}
	}
	set(&p.MaxCostMicroUSD, (*int64)(f.MaxCostPerTask))
	set(&p.MaxTimeout, (*time.Duration)(f.MaxTimeout))
}

// profileWords are for commands whose argument is the profile's name.
var profileWords = map[string]string{"name": "NAME"}

func (c *setProfileCommand) Run() error {
	switch {
	case c.File == "" && !c.named():
		return errors.New("nothing to set: name what the profile permits, or a --file")
	case c.File != "" && c.named():
		return errors.New("--file: holds the whole profile; other flags can't be set beside it")
	}
	profile := apikey.Profile{Name: c.Name}
	if c.File != "" {
		var err error
		if profile.Permissions, err = readPermissions(c.File); err != nil {
			return fmt.Errorf("--file: %w", named(err, nil))
		}
	}
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		if c.File == "" {
			former, err := keys.Profile(ctx, c.Name)
			if err != nil && !errors.Is(err, apikey.ErrNotFound) {
				return err
			}
			profile.Permissions = former.Permissions
			c.change(&profile.Permissions)
		}
		if err := keys.SetProfile(ctx, profile); err != nil {
			return c.said(err)
		}
		return printOne(os.Stdout, c.Output, profileFields(), profile)
	})
}

// said gives an error the words of the command line: what is wrong with a file is
// named as it is there.
func (c *setProfileCommand) said(err error) error {
	var e *apierror.Error
	switch {
	case errors.As(err, &e) && e.Param == "name":
		return named(err, profileWords)
	case c.File != "" && e != nil:
		return fmt.Errorf("--file: %w", named(err, nil))
	}
	return err
}

// readPermissions reads a file in YAML, of which JSON is a part.
func readPermissions(path string) (gateway.Permissions, error) {
	read := func() ([]byte, error) { return os.ReadFile(path) }
	if path == fromInput {
		read = func() ([]byte, error) { return io.ReadAll(os.Stdin) }
	}
	data, err := read()
	if err != nil {
		return gateway.Permissions{}, err
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
