package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"claude-code-api-service/internal/config"
)

// again is how soon a signal may follow the first and still be the same wish: a
// terminal signals every process of its foreground, and what runs the service there
// (npm, make, a supervisor) passes its own on. Nobody presses a key twice in that
// time.
const again = 100 * time.Millisecond

// Run serves until ctx ends, SIGTERM or an interrupt, then stops within the
// configured time. A second signal ends the process at once. SIGHUP has reload give
// another configuration; see Reload. reload may be nil.
func Run(ctx context.Context, c *config.Config, reload func() (*config.Config, error)) error {
	log, level, err := newLogger(c)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	hangups := make(chan os.Signal, 1)
	if reload != nil {
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handed, err := handedOver()
	if err != nil {
		return err
	}
	a, stopped, err := start(ctx, cancel, c, log, handed, signals)
	if err != nil || stopped {
		return err
	}
	a.level = level
	if reload != nil {
		a.seen.read.Store(&reload)
	}
	reporter := newReporter(a)
	reporter.ready()
	silence := reporter.begin()
	defer silence()
	for {
		select {
		case <-hangups:
			reporter.reloading()
			a.reload(ctx, reload)
			reporter.ready()
			continue
		case err = <-a.served:
			log.Error("serving ended", "error", err)
		case s := <-signals:
			log.Info("stopping", "signal", s.String(), "timeout", a.now().config.ShutdownTimeout.Duration())
		case <-ctx.Done():
		}
		break
	}
	reporter.stopping()
	return errors.Join(err, a.stopUnless(ctx, signals))
}

// start makes the service and starts it. A database that doesn't answer may take its
// time: a signal ends that.
func start(ctx context.Context, cancel func(), c *config.Config, log *slog.Logger, handed []net.Listener, signals <-chan os.Signal) (a *App, stopped bool, err error) {
	type outcome struct {
		app *App
		err error
	}
	begun := make(chan outcome, 1)
	go func() {
		a, err := New(ctx, c, log)
		if err == nil {
			a.handed = handed
			if err = a.Start(ctx); err != nil {
				err = errors.Join(err, a.Stop(ctx))
			}
		}
		begun <- outcome{a, err}
	}()
	select {
	case got := <-begun:
		return got.app, false, got.err
	case s := <-signals:
		log.Info("stopping", "signal", s.String())
		cancel()
	}
	first := time.Now()
	for {
		select {
		case got := <-begun:
			if got.err == nil { // it was faster than the signal
				err = got.app.stopUnless(ctx, signals)
			}
			return nil, true, err
		case s := <-signals:
			if time.Since(first) > again {
				return nil, true, errSecond(s)
			}
		}
	}
}

// stopUnless stops the service within its time, also when ctx has ended, unless a
// further signal comes.
func (a *App) stopUnless(ctx context.Context, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.now().config.ShutdownTimeout.Duration())
	defer cancel()
	first := time.Now()
	done := make(chan error, 1)
	go func() { done <- a.Stop(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case s := <-signals:
			if time.Since(first) > again {
				return errSecond(s)
			}
		}
	}
}

func errSecond(s os.Signal) error { return fmt.Errorf("ended at once by a second signal (%s)", s) }

// otherLevels are the names that the service's predecessor took besides.
var otherLevels = map[string]string{"WARNING": "WARN", "CRITICAL": "ERROR", "FATAL": "ERROR"}

func readLevel(text string) (level slog.Level, err error) {
	name := strings.ToUpper(text)
	if other, ok := otherLevels[name]; ok {
		name = other
	}
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return 0, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", text)
	}
	return level, nil
}

func newLogger(c *config.Config) (*slog.Logger, *slog.LevelVar, error) {
	level, err := readLevel(c.LogLevel)
	if err != nil {
		return nil, nil, err
	}
	live := &slog.LevelVar{}
	live.Set(level)
	options := &slog.HandlerOptions{Level: live}
	if c.LogJSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), live, nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), live, nil
}
