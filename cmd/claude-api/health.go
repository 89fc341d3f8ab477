package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"claude-code-api-service/client"
)

type healthCommand struct {
	Check healthCheckCommand `cmd:"" help:"Say whether the service is well and takes requests; the exit code says it too."`
	Ping  healthPingCommand  `cmd:"" help:"Measure how long the service takes to answer at all."`
	Deps  healthDepsCommand  `cmd:"" help:"Show how each part of the service is."`
}

// checked is what health check tells.
type checked struct {
	client.Health
	client.Readiness
}

func checkedColumns() []column[checked] {
	return []column[checked]{
		{name: "status", title: "Status", value: func(h checked) any { return condition(h.Status) }},
		{name: "ready", title: "Ready", value: func(h checked) any { return h.Ready }},
		{name: "reason", title: "Reason", value: func(h checked) any { return orNil(h.Reason) }},
		{name: "version", title: "Version", value: func(h checked) any { return h.Version }},
		{name: "uptime_seconds", title: "Up for", value: func(h checked) any { return upFor(h.Uptime) }},
	}
}

// upFor gives whole seconds; a service of less has been up for one.
func upFor(seconds float64) time.Duration {
	return max(time.Duration(seconds*float64(time.Second)).Truncate(time.Second), time.Second)
}

// probeTimeout bounds what asks whether a service answers.
const probeTimeout = 10 * time.Second

type healthCheckCommand struct {
	address    `embed:""`
	listOutput `embed:""`
	Timeout    time.Duration `help:"How long the service may take to answer." default:"10s"`
}

// Help is shown by health check --help.
func (*healthCheckCommand) Help() string {
	return "It needs no key. A service that isn't well gives exit code 1, one that takes no requests now 7, one that can't be reached 5."
}

func (c *healthCheckCommand) Run() error {
	return c.call("", 0, func(ctx context.Context, service *client.Client) error {
		ctx, cancel := context.WithTimeout(ctx, c.Timeout)
		defer cancel()
		health, err := service.Health(ctx)
		if err != nil {
			return unreached(err)
		}
		ready, err := service.Ready(ctx)
		if err != nil {
			return unreached(err)
		}
		if err := printOne(os.Stdout, c.Output, checkedColumns(), checked{*health, *ready}); err != nil {
			return err
		}
		switch {
		case !ready.Ready:
			return &exitError{code: exitLater}
		case health.Status != client.HealthOK:
			return &exitError{code: exitFailed}
		}
		return nil
	})
}

// unreached says of a service that took too long that it can't be reached.
func unreached(err error) error {
	if code := exitCode(err); code == exitUnreachable || code == exitInterrupted {
		return err
	}
	return &exitError{exitUnreachable, fmt.Errorf("the service doesn't answer: %w", err)}
}

type healthPingCommand struct {
	address    `embed:""`
	listOutput `embed:""`
	Count      int `short:"n" help:"How often." default:"3"`
}

// ping is one answer.
type ping struct {
	n    int
	took time.Duration
}

func (c *healthPingCommand) Run() error {
	if c.Count < 1 || c.Count > 10_000 {
		return misused("--count: must be between 1 and 10000")
	}
	return c.call("", 0, func(ctx context.Context, service *client.Client) error {
		p := newPrinter(os.Stdout, c.Output, []column[ping]{
			{name: "n", title: "N", value: func(p ping) any { return p.n }},
			{name: "seconds", title: "Took", value: func(p ping) any { return p.took.Round(time.Microsecond) }},
		})
		for n := range c.Count {
			took, err := pingOnce(ctx, service)
			if err != nil {
				return unreached(err)
			}
			if err := p.add(ping{n + 1, took}); err != nil {
				return err
			}
		}
		return p.close()
	})
}

func pingOnce(ctx context.Context, service *client.Client) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	begun := time.Now()
	_, err := service.Health(ctx)
	return time.Since(begun), err
}

type healthDepsCommand struct {
	address    `embed:""`
	listOutput `embed:""`
}

// part is one of those that a service consists of.
type part struct {
	name string
	client.ServiceHealth
}

func (c *healthDepsCommand) Run() error {
	return c.call("", 0, func(ctx context.Context, service *client.Client) error {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		health, err := service.Health(ctx)
		if err != nil {
			return unreached(err)
		}
		var list []part
		for _, name := range slices.Sorted(maps.Keys(health.Services)) {
			list = append(list, part{name, health.Services[name]})
		}
		err = printList(os.Stdout, c.Output, []column[part]{
			{name: "name", title: "Name", value: func(p part) any { return p.name }},
			{name: "status", title: "Status", value: func(p part) any { return condition(p.Status) }},
			{name: "detail", title: "Detail", value: func(p part) any { return p.Detail }},
		}, list)
		if err == nil && health.Status != client.HealthOK {
			return &exitError{code: exitFailed}
		}
		return err
	})
}
