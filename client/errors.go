package client

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// The categories of errors, as Error.Category has them.
const (
	CategoryBadRequest     = "bad_request"
	CategoryAuth           = "auth_error"
	CategoryPermission     = "permission"
	CategoryBudgetExceeded = "budget_exceeded"
	CategoryRateLimited    = "rate_limited"
	CategoryOverloaded     = "overloaded"
	CategoryUpstream       = "upstream_error"
	CategoryConnection     = "connection_error"
	CategoryCLI            = "cli_error"
	CategoryTimeout        = "timeout"
	CategoryInternal       = "internal"
	CategoryInterrupted    = "interrupted" // a task that can't go on
	CategoryCancelled      = "cancelled"   // a task or a chat that was ended
)

// ErrCut says that a stream ended before its last event.
var ErrCut = errors.New("the stream was cut off before its end")

// Error is what the service answered instead of what was asked for.
type Error struct {
	Status    int    // of HTTP; 0 where the error came in a stream
	Category  string // one of the constants; "" where something in between answered
	Code      string // the exact reason, or the category again
	Message   string // for people
	Param     string // the member of the request at fault; "" when none is
	RequestID string
	// RetryAfter is when it is worth another try; 0: the service doesn't say.
	RetryAfter time.Duration
}

// Error gives the message, with what finds it in the service's log.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = "the service gave no reason"
	}
	about := e.Code
	if e.Status != 0 {
		about = strings.TrimSpace(strconv.Itoa(e.Status) + " " + about)
	}
	if e.RequestID != "" {
		about = strings.TrimPrefix(about+", request "+e.RequestID, ", ")
	}
	if about == "" {
		return text
	}
	return text + " (" + about + ")"
}

// failure is the error envelope of every family, and the error event of streams.
type failure struct {
	Detail string `json:"detail"`
	Error  struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Param   string `json:"param"`
		Code    string `json:"code"`
	} `json:"error"`
	RetryAfter float64 `json:"retry_after"` // seconds
	RequestID  string  `json:"request_id"`
}

// error gives it as an Error.
func (f *failure) error() *Error {
	e := &Error{
		Category: f.Error.Type, Code: f.Error.Code, Message: f.Error.Message, Param: f.Error.Param, RequestID: f.RequestID,
		RetryAfter: seconds(f.RetryAfter),
	}
	if e.Message == "" {
		e.Message = f.Detail
	}
	if e.Code == "" {
		e.Code = e.Category
	}
	return e
}

// mostSeconds is far beyond what anybody waits, and far from what a Duration holds.
const mostSeconds = 1e9

func seconds(n float64) time.Duration {
	if !(n > 0) { // NaN neither
		return 0
	}
	return time.Duration(min(n, mostSeconds) * float64(time.Second))
}

// maxError bounds the body of an error.
const maxError = 1 << 20

// errorOf reads the error that an answer is.
func errorOf(response *http.Response) *Error {
	var f failure
	// What isn't the service's own, such as a proxy's page, has no members.
	_ = json.UnmarshalRead(io.LimitReader(response.Body, maxError), &f, lenient)
	e := f.error()
	e.Status = response.StatusCode
	if category := response.Header.Get("X-Error-Category"); category != "" {
		e.Category = category
	}
	if e.Code == "" {
		e.Code = e.Category
	}
	if id := response.Header.Get("X-Request-ID"); id != "" {
		e.RequestID = id
	}
	if e.Message == "" {
		e.Message = "the service answers " + response.Status
	}
	if wait, err := strconv.ParseFloat(response.Header.Get("Retry-After"), 64); err == nil {
		e.RetryAfter = seconds(wait)
	}
	return e
}
