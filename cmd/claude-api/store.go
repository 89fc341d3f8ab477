package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/config"
)

// withStore opens the database, also while the service runs on it.
func withStore(data *config.Data, do func(ctx context.Context, s app.Store) error) error {
	ctx := context.Background()
	s, err := app.OpenStore(ctx, data)
	if err != nil {
		return err
	}
	return errors.Join(plain(do(ctx, s)), s.Close())
}

// withKeys opens the database for what is done to keys, projects, profiles and
// budgets.
func withKeys(data *config.Data, do func(ctx context.Context, keys *apikey.Keys) error) error {
	return withStore(data, func(ctx context.Context, s app.Store) error { return do(ctx, newKeys(s)) })
}

func newKeys(s app.Store) *apikey.Keys {
	return apikey.NewKeys(apikey.Options{Store: s, Changed: app.AuditChanges(s, audit.CLI)})
}

// plain gives a person only the text of what is wrong with their wish, which names
// the flag, or with their key.
func plain(err error) error { return named(err, fieldFlags) }

// zoneOf gives the time zone in which a project's days begin.
func zoneOf(p apikey.Project) (*time.Location, error) {
	zone, err := time.LoadLocation(p.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time zone of project %s: %w", p.ID, err)
	}
	return zone, nil
}

// fromInput is an argument that stands for a line of standard input, so that a key
// is neither in a shell's history nor in the list of processes.
const fromInput = "-"

// keyArgument names a key.
type keyArgument struct {
	Key string `arg:"" help:"The key, its id or its visible beginning; \"-\" reads it from standard input."`
}

// ref gives what names the key.
func (a keyArgument) ref() (string, error) {
	if a.Key != fromInput {
		return a.Key, nil
	}
	return typedKey()
}

// typedKey reads a key from a line of standard input.
func typedKey() (string, error) {
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && line == "" {
		return "", fmt.Errorf("read the key: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// refused says that an error is about a key that isn't valid.
func refused(err error) bool {
	var e *apierror.Error
	return errors.As(err, &e) && e.Category == apierror.AuthError
}

// warn tells a person of something that is no error.
func warn(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "claude-api: warning: "+format+"\n", args...)
}

// printf writes to standard output. A closed one is nothing to report.
func printf(format string, args ...any) { fmt.Fprintf(os.Stdout, format, args...) }
