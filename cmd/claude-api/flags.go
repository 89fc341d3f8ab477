package main

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
)

// fieldFlags are the flags in which people write what the service calls by the
// names of its fields.
var fieldFlags = map[string]string{
	"project_id": "--project-id", "name": "--name", "profile": "--profile",
	"requests_per_minute": "--rate-limit", "tokens_per_minute": "--tokens-per-minute", "concurrent_requests": "--concurrent-requests",
	"expires_at": "--expires", "grace": "--grace", "time_zone": "--time-zone",
	"allowed_tools": "--allowed-tools", "blocked_tools": "--blocked-tools", "allowed_agents": "--allowed-agents", "allowed_skills": "--allowed-skills",
	"max_cost_per_task": "--max-cost-per-task", "max_timeout": "--max-timeout", "working_directories": "--working-directories",
}

// named gives an error that is about a person's wish its text, in which the field at
// fault has the name that words has for it. Other errors stay as they are.
func named(err error, words map[string]string) error {
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != apierror.BadRequest && e.Category != apierror.AuthError {
		return err
	}
	text := e.Message
	if rest, found := strings.CutPrefix(text, e.Param); found && e.Param != "" && strings.IndexAny(rest, " :") == 0 {
		if word := words[e.Param]; word != "" {
			text = word + rest
		}
	}
	return &exitError{exitCode(err), errors.New(text)}
}

var (
	isFlag     = regexp.MustCompile(`^--[a-z][a-z-]*$`)
	isNegative = regexp.MustCompile(`^-[0-9.]`)
)

// joinNegative joins a flag with the negative number behind it. No flag begins with
// a digit, but the parser would take -5 for one and not say what --usd -5 lacks.
func joinNegative(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(joined, args[i:]...)
		}
		if i+1 < len(args) && isFlag.MatchString(args[i]) && isNegative.MatchString(args[i+1]) {
			joined = append(joined, args[i]+"="+args[i+1])
			i++
			continue
		}
		joined = append(joined, args[i])
	}
	return joined
}

// howLong is a duration that people may write in weeks and days too: 2w, 30d, 1d12h.
type howLong time.Duration

const (
	daysLong = 24 * time.Hour
	// mostUnits keeps weeks and days far from what a Duration holds.
	mostUnits = 10_000
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *howLong) UnmarshalText(text []byte) error {
	wrong := errors.New("must be a duration such as 12h30m, 30d or 2w")
	rest, total := string(text), time.Duration(0)
	for _, unit := range [...]struct {
		letter string
		long   time.Duration
	}{{"w", 7 * daysLong}, {"d", daysLong}} {
		number, after, found := strings.Cut(rest, unit.letter)
		if !found {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || n > mostUnits || n < -mostUnits {
			return wrong
		}
		total, rest = total+time.Duration(n)*unit.long, after
		if rest == "" {
			*s = howLong(total)
			return nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return wrong
	}
	*s = howLong(total + d)
	return nil
}
