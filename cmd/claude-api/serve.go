package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/simulator"
)

type serveCommand struct {
	config.Config `embed:""`
}

// Help is shown by serve --help.
func (c *serveCommand) Help() string {
	return "SIGTERM and an interrupt let running requests finish, a second one ends at once. SIGHUP reads the configuration file, " +
		"and the files of certificates, prices and credentials, again: kill -HUP PID."
}

// Run serves until SIGTERM or an interrupt; a second one ends at once. SIGHUP reads
// the configuration again.
func (c *serveCommand) Run() error {
	if err := c.complete(); err != nil {
		return err
	}
	return app.Run(context.Background(), &c.Config, readAgain)
}

// complete reads what is no flag, because a command line shows it to everybody.
func (c *serveCommand) complete() (err error) {
	if c.Anthropic, err = config.ReadAnthropic(os.Getenv); err != nil {
		return err
	}
	if c.WebhookSecret, err = config.ReadWebhookSecret(os.Getenv); err != nil {
		return err
	}
	return c.Validate()
}

type simulatorCommand struct {
	Listen string `help:"Address to listen on." default:"127.0.0.1:8007"`
}

// Run serves the simulator until it is interrupted.
func (c *simulatorCommand) Run() error {
	s := simulator.New(simulator.Options{})
	url, err := s.Start(c.Listen)
	if err != nil {
		return err
	}
	defer s.Close()
	// Before the line that tells others that they may stop it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	printf("An imitation of the Anthropic API listens on %s\n", url)
	<-ctx.Done()
	return nil
}
