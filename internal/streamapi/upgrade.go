package streamapi

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

// Browsers can't set a header on a WebSocket, but they can offer subprotocols:
// ours, which the server selects, and one that carries the key, which it never
// repeats.
const (
	subprotocol    = "claude-api"
	keySubprotocol = "key."
)

// serve upgrades a request to a connection and serves that to its end. A key
// that comes with the request is checked before the upgrade.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	c, err := h.open(w, r)
	if err != nil {
		protocol.WriteFlatError(w, r, h.log, 0, err)
		return
	}
	u := &upgrader{ResponseWriter: w}
	c.ws, err = websocket.Accept(u, r, &websocket.AcceptOptions{
		Subprotocols:    []string{subprotocol},
		CompressionMode: websocket.CompressionDisabled,
		OnPingReceived:  c.out.onPing,
		OriginPatterns:  h.origins,
	})
	if err != nil {
		h.refuseUpgrade(w, r, u.status, err)
		return
	}
	c.out.ws, c.out.raw = c.ws, u.conn
	c.run(r.Context())
}

// patterns writes origins as the library's patterns, in which they stand for
// themselves only. IPv6 addresses have brackets, which patterns give a meaning.
func patterns(origins []string) []string {
	quoted := make([]string, len(origins))
	for i, origin := range origins {
		quoted[i] = strings.ReplaceAll(origin, "[", `\[`)
	}
	return quoted
}

// open makes the connection of a request that may be upgraded. An error is an
// apierror.Error.
func (h *Handler) open(w http.ResponseWriter, r *http.Request) (*conn, error) {
	c := newConn(h, w.Header().Get(protocol.HeaderRequestID), protocol.Address(r))
	if h.isStopping() {
		return nil, errShuttingDown()
	}
	if c.key = presentedKey(r.Header); c.key != "" {
		call, err := h.gateway.Open(r.Context(), c.requestID, pathStream, c.key, c.address)
		protocol.Served(w, call.Caller)
		if err != nil {
			h.gateway.Refuse(r.Context(), call, err)
			return nil, err
		}
	}
	var err error
	c.prefer, err = protocol.PreferredBackend(r.Header)
	return c, err
}

// presentedKey finds the key in the header, "" when there is none.
func presentedKey(header http.Header) string {
	if key := protocol.PresentedKey(header); key != "" {
		return key
	}
	for _, line := range header["Sec-Websocket-Protocol"] {
		for name := range strings.SplitSeq(line, ",") {
			if key, ok := strings.CutPrefix(strings.TrimSpace(name), keySubprotocol); ok && key != "" {
				return key
			}
		}
	}
	return ""
}

// refuseUpgrade answers a request that isn't one for a WebSocket, or one that a
// page of another origin makes, with the status that the library found.
func (h *Handler) refuseUpgrade(w http.ResponseWriter, r *http.Request, status int, cause error) {
	e := &apierror.Error{Category: apierror.BadRequest, Message: "this endpoint is a WebSocket: the request must be a valid upgrade (RFC 6455)", Cause: cause}
	switch {
	case status == http.StatusForbidden:
		e.Category, e.Code = apierror.Permission, "origin_not_allowed"
		e.Message = "a page of another origin may not connect"
	case status == http.StatusUpgradeRequired:
		e.Code = "upgrade_required"
	case status >= http.StatusInternalServerError:
		e.Category, e.Message = apierror.Internal, "internal error"
	}
	protocol.WriteFlatError(w, r, h.log, status, e)
}

// upgrader keeps the connection, whose deadlines the library doesn't set, and
// the library's own error answers, which aren't JSON.
type upgrader struct {
	http.ResponseWriter
	conn   net.Conn
	status int // of a refusal
}

// WriteHeader lets only the upgrade through.
func (u *upgrader) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		u.ResponseWriter.WriteHeader(status)
		return
	}
	u.status = status
}

// Write drops the text of a refusal.
func (u *upgrader) Write(b []byte) (int, error) { return len(b), nil }

// Hijack implements http.Hijacker.
func (u *upgrader) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, errors.Join(errors.New("take the connection over"), err)
	}
	u.conn = conn
	return conn, buffered, nil
}
