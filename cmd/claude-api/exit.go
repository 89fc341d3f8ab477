package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"claude-code-api-service/client"
	"claude-code-api-service/internal/apierror"
)

// The exit codes, as exitCodes documents them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitUnreachable = 5
	exitPartly      = 6
	exitLater       = 7
	exitInterrupted = 130
)

// exitCodes are what scripts may rely on; --help and docs/commands.md have them.
var exitCodes = []struct {
	code int
	what string
}{
	{exitDone, "done"},
	{exitFailed, "failed, for any other reason; keys test: the key isn't valid"},
	{exitUsage, "the command line isn't valid, or asks for what the service calls invalid"},
	{exitNotFound, "what was named isn't there; service status: the service doesn't run"},
	{exitRefused, "the key is missing, isn't valid, or may not do that"},
	{exitUnreachable, "the service can't be reached"},
	{exitPartly, "a part was done and a part failed: batch run"},
	{exitLater, "refused for now: a limit, a budget, or a service that is full or not ready"},
	{exitInterrupted, "interrupted"},
}

// exitHelp is the table as --help shows it.
func exitHelp() string {
	var text strings.Builder
	text.WriteString("Exit codes:")
	for _, e := range exitCodes {
		fmt.Fprintf(&text, "\n  %3d  %s", e.code, e.what)
	}
	return text.String()
}

// exitError ends the program with a code. Its text may be empty: all has been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// misused says that the command line asks for what can't be.
func misused(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// notFound says that what was named isn't there.
func notFound(format string, args ...any) error {
	return &exitError{exitNotFound, fmt.Errorf(format, args...)}
}

// exitCode gives the code for an error.
func exitCode(err error) int {
	var (
		own     *exitError
		parse   *kong.ParseError
		told    *client.Error
		at      *apierror.Error
		network *url.Error
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &parse):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &told):
		return exitCodeOf(told)
	case errors.As(err, &at):
		switch at.Status() {
		case http.StatusNotFound:
			return exitNotFound
		case http.StatusBadRequest:
			return exitUsage
		case http.StatusUnauthorized:
			return exitRefused
		}
	case errors.As(err, &network):
		return exitUnreachable
	}
	return exitFailed
}

// exitCodeOf gives the code for what a service has answered.
func exitCodeOf(e *client.Error) int {
	switch e.Category {
	case client.CategoryAuth, client.CategoryPermission:
		if e.Status < http.StatusInternalServerError { // else it is the service's own credential
			return exitRefused
		}
	case client.CategoryBudgetExceeded, client.CategoryRateLimited:
		return exitLater
	case client.CategoryOverloaded:
		return exitLater
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitRefused
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return exitUsage
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return exitLater
	}
	return exitFailed
}

// fail prints an error and ends the program.
func fail(err error) {
	code := exitCode(err)
	if text := errorText(err); text != "" {
		fmt.Fprintln(os.Stderr, styled(os.Stderr, styleBad, "claude-api:"), printable(text))
	}
	os.Exit(code)
}

// errorText is what a person reads of an error.
func errorText(err error) string {
	var told *client.Error
	var network *url.Error
	switch {
	case errors.As(err, &told):
		text := told.Message
		if told.RetryAfter > 0 {
			text += fmt.Sprintf(" (try again in %s)", told.RetryAfter)
		}
		return text
	case errors.As(err, &network):
		// Its own text has the method and the whole address in front.
		return "the service can't be reached: " + network.Err.Error()
	case errors.Is(err, context.Canceled):
		return "interrupted"
	}
	return err.Error()
}
