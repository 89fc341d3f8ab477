package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strconv"
	"time"
)

// How a reader of events comes again whose connection broke.
const (
	firstReconnect = 200 * time.Millisecond
	mostReconnect  = 5 * time.Second
	// reconnectFor is how long the service may stay away.
	reconnectFor = 2 * time.Minute
)

// TaskEvents gives the events of a task behind the one with the number after, those that
// were and those to come, and ends behind EventResult or EventError. When the connection
// breaks it makes another and goes on behind the last event it has, so that none is missed
// and none comes twice; only what isn't kept, EventToken, may be missed. It gives up, with
// an error, when the service has refused it, or couldn't be reached for two minutes. A
// service that can't be reached at first is an error at once.
//
// Stopping to read does nothing to the task.
func (c *Client) TaskEvents(ctx context.Context, id string, after int64) iter.Seq2[TaskEvent, error] {
	return c.follow(ctx, pathOfTask(id)+"/events", after)
}

func (c *Client) follow(ctx context.Context, path string, after int64) iter.Seq2[TaskEvent, error] {
	return func(yield func(TaskEvent, error) bool) {
		connected := false // ever
		var lost time.Time // since when there is no connection; zero: there is one
		wait := firstReconnect
		for {
			done, heard, err := c.followOnce(ctx, path, &after, yield)
			if done {
				return
			}
			connected = connected || heard
			if heard {
				lost, wait = time.Time{}, firstReconnect
			}
			if lost.IsZero() {
				lost = time.Now()
			}
			if !connected || ctx.Err() != nil || !worthAgain(err) || time.Since(lost) > reconnectFor || !pause(ctx, wait) {
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				yield(TaskEvent{}, err)
				return
			}
			wait = min(2*wait, mostReconnect)
		}
	}
}

// followOnce reads the events of one connection. done says that the reader needs no more;
// heard, that the service has answered with a stream.
func (c *Client) followOnce(ctx context.Context, path string, after *int64, yield func(TaskEvent, error) bool) (done, heard bool, err error) {
	var options []Option
	if *after > 0 {
		options = append(options, Header("Last-Event-ID", strconv.FormatInt(*after, 10)))
	}
	stream, err := c.open(ctx, http.MethodGet, path, nil, newCall(options))
	if err != nil {
		return false, false, err
	}
	defer stream.close()
	for {
		e, err := stream.task()
		if err != nil {
			return false, true, err
		}
		if e.Seq > 0 {
			if e.Seq <= *after {
				continue
			}
			*after = e.Seq
		}
		if e.Task != nil {
			stream.finish()
		}
		if !yield(e, nil) || e.Task != nil {
			return true, true, nil
		}
	}
}

// worthAgain says whether another connection may do better.
func worthAgain(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests
	}
	return true
}
