package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/usage"
)

// usageChoice chooses days of projects. They are days of each project's own time
// zone, as its budgets count them.
type usageChoice struct {
	Period    string `help:"The current day, week or month; month when neither this nor --since nor --until is set."`
	Since     string `help:"The first day, such as 2026-03-01." placeholder:"DATE"`
	Until     string `help:"The last day." placeholder:"DATE"`
	ProjectID string `help:"Only this project."`
	Key       string `help:"Only this key: the key, its id or its visible beginning."`
}

// filter gives what is chosen of a project whose time zone is zone.
func (c *usageChoice) filter(now time.Time, zone *time.Location) (usage.Filter, error) {
	var f usage.Filter
	period := budget.Period(cmp.Or(c.Period, string(budget.Month)))
	if !period.Known() || period == budget.Total {
		return f, errors.New("--period: must be day, week or month")
	}
	if c.Since == "" && c.Until == "" {
		f.Since = period.Start(now.In(zone))
		return f, nil
	}
	if c.Period != "" {
		return f, errors.New("--period can't be set beside --since and --until")
	}
	var err error
	if c.Since != "" {
		if f.Since, err = day("since", c.Since, zone); err != nil {
			return f, err
		}
	}
	if c.Until != "" {
		last, err := day("until", c.Until, zone)
		if err != nil {
			return f, err
		}
		f.Until = last.AddDate(0, 0, 1)
		if !f.Until.After(f.Since) {
			return f, errors.New("--until: is before --since")
		}
	}
	return f, nil
}

// day reads the first moment of a day.
func day(flag, text string, zone *time.Location) (time.Time, error) {
	t, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		return t, fmt.Errorf("--%s: %q isn't a date such as 2026-03-01", flag, text)
	}
	return t, nil
}

// sums reads what is chosen, and says which days those are.
func (c *usageChoice) sums(ctx context.Context, s app.Store) ([]usage.Dated, string, error) {
	keys := newKeys(s)
	keyID := ""
	if c.Key != "" {
		account, err := keys.Find(ctx, c.Key)
		if err != nil {
			return nil, "", err
		}
		keyID = account.Key.ID
	}
	projects, err := c.projects(ctx, keys)
	if err != nil {
		return nil, "", err
	}
	places := make([]usage.Place, len(projects))
	for i, p := range projects {
		zone, err := zoneOf(p)
		if err != nil {
			return nil, "", err
		}
		places[i] = usage.Place{ProjectID: p.ID, Zone: zone}
	}
	var days []string
	choose := func(now time.Time, zone *time.Location) (usage.Filter, error) {
		filter, err := c.filter(now, zone)
		if text := covered(filter, zone); err == nil && !slices.Contains(days, text) {
			days = append(days, text)
		}
		return filter, err
	}
	if len(places) == 0 {
		if _, err := choose(time.Now(), time.UTC); err != nil {
			return nil, "", err
		}
	}
	list, err := usage.NewReports(usage.ReportsOptions{Store: s}).Sums(ctx, places, keyID, choose)
	return list, strings.Join(days, ", or "), err
}

// covered says which days a filter chooses.
func covered(f usage.Filter, zone *time.Location) string {
	first := f.Since.In(zone).Format(time.DateOnly)
	last := f.Until.In(zone).AddDate(0, 0, -1).Format(time.DateOnly)
	switch {
	case f.Until.IsZero():
		return "since " + first
	case f.Since.IsZero():
		return "until " + last
	}
	return first + " to " + last
}

// projects are those that are chosen. Every project that has used something has a
// key: keys are never removed.
func (c *usageChoice) projects(ctx context.Context, keys *apikey.Keys) ([]apikey.Project, error) {
	if c.ProjectID == "" {
		return keys.Projects(ctx)
	}
	project, err := keys.KnownProject(ctx, c.ProjectID)
	return []apikey.Project{project}, err
}
