package main

import (
	"context"
	"os"

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
			return usdLimit(p.MaxCostMicroUSD)
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

type deleteProfileCommand struct {
	config.Data `embed:""`
	Name        string `arg:"" help:"The profile's name."`
}

func (c *deleteProfileCommand) Run() error {
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		if err := keys.DeleteProfile(ctx, c.Name); err != nil {
			return named(err, profileWords)
		}
		printf("Deleted the profile %s.\n", c.Name)
		return nil
	})
}
