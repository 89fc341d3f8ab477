package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"claude-code-api-service/internal/capability"
	"claude-code-api-service/internal/gateway"
)

type agentsCommand struct {
	List   listAgentsCommand   `cmd:"" help:"List the agents that tasks may start."`
	Info   infoAgentCommand    `cmd:"" help:"Show an agent."`
	Search searchAgentsCommand `cmd:"" help:"List the agents whose name or description holds a text."`
}

type skillsCommand struct {
	List   listSkillsCommand   `cmd:"" help:"List the skills that tasks may use."`
	Info   infoSkillCommand    `cmd:"" help:"Show a skill."`
	Search searchSkillsCommand `cmd:"" help:"List the skills whose name or description holds a text."`
}

// capabilityPlaces say where to look.
type capabilityPlaces struct {
	listOutput       `embed:""`
	ClaudeHome       string `help:"HOME of the CLI's processes; empty: only what is built into the CLI." env:"CLAUDE_API_CLAUDE_HOME"`
	WorkingDirectory string `help:"A project whose agents and skills are listed too." type:"path"`
}

// catalogue reads them once.
func (c *capabilityPlaces) catalogue() (*capability.Catalogue, error) {
	home := c.ClaudeHome
	if home != "" {
		var err error
		if home, err = filepath.Abs(home); err != nil {
			return nil, fmt.Errorf("--claude-home: %w", err)
		}
	}
	return capability.New(capability.Options{Home: home}), nil
}

func (c *capabilityPlaces) agents() ([]capability.Agent, error) {
	all, err := c.catalogue()
	if err != nil {
		return nil, err
	}
	defer all.Close()
	return all.Agents(c.WorkingDirectory), nil
}

func (c *capabilityPlaces) skills() ([]capability.Skill, error) {
	all, err := c.catalogue()
	if err != nil {
		return nil, err
	}
	defer all.Close()
	return all.Skills(c.WorkingDirectory), nil
}

func agentColumns() []column[capability.Agent] {
	return []column[capability.Agent]{
		{name: "name", title: "Name", value: func(a capability.Agent) any { return a.Name }},
		{name: "origin", title: "Origin", value: func(a capability.Agent) any { return string(a.Origin) }},
		{name: "model", title: "Model", value: func(a capability.Agent) any { return orNil(a.Model) }},
		{name: "tools", title: "Tools", value: func(a capability.Agent) any {
			if a.Tools == nil {
				return []string{gateway.All}
			}
			return a.Tools
		}},
		{name: "description", title: "Description", value: func(a capability.Agent) any { return a.Description }},
		{name: "path", value: func(a capability.Agent) any { return orNil(a.Path) }},
	}
}

func skillColumns() []column[capability.Skill] {
	return []column[capability.Skill]{
		{name: "name", title: "Name", value: func(s capability.Skill) any { return s.Name }},
		{name: "origin", title: "Origin", value: func(s capability.Skill) any { return string(s.Origin) }},
		{name: "tools", title: "Tools", value: func(s capability.Skill) any { return s.Tools }},
		{name: "description", title: "Description", value: func(s capability.Skill) any { return s.Description }},
		{name: "path", value: func(s capability.Skill) any { return orNil(s.Path) }},
	}
}

// orNil makes an empty text one that isn't set.
func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// inLine has a table show a description in one line of at most so many letters.
func inLine[T any](columns []column[T], most int) []column[T] {
	for i := range columns {
		if value := columns[i].value; columns[i].name == "description" {
			columns[i].value = func(record T) any {
				text := strings.Join(strings.Fields(fmt.Sprint(value(record))), " ")
				if letters := []rune(text); len(letters) > most {
					text = string(letters[:most-1]) + "…"
				}
				return text
			}
		}
	}
	return columns
}

// What a line of a list has room for, and what the one record has that is shown.
const listLetters, infoLetters = 80, 4_000

func printCapabilities[T any](form string, columns []column[T], list []T) error {
	if form == formTable {
		columns = inLine(columns, listLetters)
	}
	return printList(os.Stdout, form, columns, list)
}

func printCapability[T any](form string, columns []column[T], one T) error {
	if form == formTable {
		columns = inLine(columns, infoLetters)
		columns[len(columns)-1].title = "Path"
	}
	return printOne(os.Stdout, form, columns, one)
}

// holds says whether one of the texts holds what is looked for, in letters of any case.
func holds(text string, in ...string) bool {
	return slices.ContainsFunc(in, func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(text)) })
}

type listAgentsCommand struct {
	capabilityPlaces `embed:""`
}

func (c *listAgentsCommand) Run() error {
	list, err := c.agents()
	if err != nil {
		return err
	}
	return printCapabilities(c.Output, agentColumns(), list)
}

type searchAgentsCommand struct {
	capabilityPlaces `embed:""`
	Text             string `arg:"" help:"What to look for, in letters of any case."`
}

func (c *searchAgentsCommand) Run() error {
	list, err := c.agents()
	if err != nil {
		return err
	}
	return printCapabilities(c.Output, agentColumns(), slices.DeleteFunc(list, func(a capability.Agent) bool {
		return !holds(c.Text, a.Name, a.Description)
	}))
}

type infoAgentCommand struct {
	capabilityPlaces `embed:""`
	Name             string `arg:"" help:"The agent's name."`
}

func (c *infoAgentCommand) Run() error {
	list, err := c.agents()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(a capability.Agent) bool { return a.Name == c.Name })
	if i < 0 {
		return notFound("there is no agent %s", c.Name)
	}
	return printCapability(c.Output, agentColumns(), list[i])
}

type listSkillsCommand struct {
	capabilityPlaces `embed:""`
}

func (c *listSkillsCommand) Run() error {
	list, err := c.skills()
	if err != nil {
		return err
	}
	return printCapabilities(c.Output, skillColumns(), list)
}

type searchSkillsCommand struct {
	capabilityPlaces `embed:""`
	Text             string `arg:"" help:"What to look for, in letters of any case."`
}

func (c *searchSkillsCommand) Run() error {
	list, err := c.skills()
	if err != nil {
		return err
	}
	return printCapabilities(c.Output, skillColumns(), slices.DeleteFunc(list, func(s capability.Skill) bool {
		return !holds(c.Text, s.Name, s.Description)
	}))
}

type infoSkillCommand struct {
	capabilityPlaces `embed:""`
	Name             string `arg:"" help:"The skill's name: its folder's."`
}

func (c *infoSkillCommand) Run() error {
	list, err := c.skills()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(s capability.Skill) bool { return s.Name == c.Name })
	if i < 0 {
		return notFound("there is no skill %s", c.Name)
	}
	return printCapability(c.Output, skillColumns(), list[i])
}
