package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/confine"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/route"
	"claude-code-api-service/internal/simulator"
	"claude-code-api-service/internal/sqlite"
)

// What follows is for those who look at an installation without starting the service.
// None of it changes anything.

// DatabaseLook is what a look at the database shows.
type DatabaseLook struct {
	Kind           string // sqlite, postgresql
	Exists         bool   // false: the first start makes it
	Version        string // of SQLite or of the server
	Latency        time.Duration
	Schema, Target int64 // what it has, what this program has
	Keys, Admins   int   // that work
}

// LookAtDatabase looks at the database that the settings choose, also while a service
// runs on it.
func LookAtDatabase(ctx context.Context, data *config.Data) (DatabaseLook, error) {
	if data.DatabaseURL == "" {
		l, err := sqlite.LookAt(ctx, data.Database())
		return DatabaseLook{kindSQLite, l.Exists, l.Version, l.Latency, l.Schema, l.Target, l.Keys, l.Admins}, err
	}
	l, err := postgres.LookAt(ctx, postgres.Options{URL: data.DatabaseURL.Reveal()})
	if err != nil {
		err = fmt.Errorf("--database-url: %w", err)
	}
	return DatabaseLook{kindPostgres, !l.Empty, l.Version, l.Latency, l.Schema, l.Target, l.Keys, l.Admins}, err
}

// FindCLI gives the CLI's binary as the service would find it; "" when there is none.
// One that is named and isn't there is given as it is named.
func FindCLI(c *config.Config) (string, error) {
	path, err := (&App{config: c}).cliPath()
	if err != nil {
		return absolute(c.ClaudePath)
	}
	return path, nil
}

// ProbeCLI runs a CLI against an imitated upstream, as the service does when it starts,
// and says how workers would be used; fresh says that none could be used twice.
func ProbeCLI(ctx context.Context, c *config.Config, path string) (mode string, fresh bool, err error) {
	confinement, err := confine.New(confine.Mode(c.Confine))
	if err != nil {
		return "", false, fmt.Errorf("--confine: %w", err)
	}
	catalogue, err := readPrices(c.Prices)
	if err != nil {
		return "", false, err
	}
	model, ok := catalogue.Resolve(firstModel)
	if !ok {
		return "", false, fmt.Errorf("the price data has no model for %s", firstModel)
	}
	root, err := os.MkdirTemp("", "claude-api-look-")
	if err != nil {
		return "", false, err
	}
	marker := "look-" + strings.ToLower(rand.Text())
	defer func() {
		_, killErr := claudecli.KillMarked(marker)
		err = errors.Join(err, killErr, os.RemoveAll(root))
	}()
	upstream := simulator.New(simulator.Options{KeepBodies: 1_000})
	if _, err := upstream.Start(""); err != nil {
		return "", false, err
	}
	defer upstream.Close()
	features, err := claudecli.Probe(ctx, claudecli.Options{
		Path: path, Root: root, Model: model, Marker: marker, Confinement: confinement,
		Env: inherited(c.ClaudeEnv), IdleTimeout: c.SDKTimeout.Duration(),
	}, upstream)
	if err != nil {
		return "", false, err
	}
	return features.Mode(), features.Emptying == claudecli.EmptyNever, nil
}

// Confinement says whether the CLI's processes would be confined by Landlock, and what
// would hold. The error says why the service wouldn't start.
func Confinement(c *config.Config) (landlock bool, what string, err error) {
	confinement, err := confine.New(confine.Mode(c.Confine))
	if err != nil {
		return false, "", err
	}
	landlock, what = confinement.Holds()
	return landlock, what, nil
}

// LeftRun is a run of the service that was killed: its folder is there, and nobody
// holds its lock.
type LeftRun struct {
	Folder    string
	Processes []int // that it has left
}

// LeftRuns gives those of this user that the next start would clean up.
func LeftRuns() ([]LeftRun, error) {
	folders, err := filepath.Glob(filepath.Join(os.TempDir(), runPrefix+"*"))
	if err != nil {
		return nil, err
	}
	var left []LeftRun
	for _, folder := range folders {
		marker := strings.TrimPrefix(filepath.Base(folder), runPrefix)
		if !isMarker(marker) || !isOwn(folder) || isHeld(folder) {
			continue
		}
		left = append(left, LeftRun{Folder: folder, Processes: claudecli.Marked(marker)})
	}
	return left, nil
}

// isHeld says that a run goes on. A service that starts while the lock is tried may leave
// the folder to its next start.
func isHeld(folder string) bool {
	lock, err := os.Open(filepath.Join(folder, lockName))
	if err != nil {
		return false
	}
	defer func() { _ = lock.Close() }() // gives the lock back
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// CheckSettings finds what New would refuse of valid settings, beside the database, the
// certificate and the CLI. The error names the setting.
func CheckSettings(c *config.Config) error {
	if _, err := readLevel(c.LogLevel); err != nil {
		return err
	}
	catalogue, err := readPrices(c.Prices)
	if err != nil {
		return err
	}
	if err := route.CheckModelMap(c.ModelMap, resolve(catalogue)); err != nil {
		return fmt.Errorf("--model-map: %w", err)
	}
	if _, err := route.ParseFallbacks(c.Fallback, resolve(catalogue)); err != nil {
		return errFallback(err)
	}
	if c.WebhookURL != "" && c.WebhookSecret == "" {
		return errors.New("--webhook-url: notifications are signed: set CLAUDE_API_WEBHOOK_SECRET")
	}
	return nil
}
