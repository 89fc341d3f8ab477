package adminapi

import (
	"net/http"

	"claude-code-api-service/internal/monitor"
	"claude-code-api-service/internal/openapi"
)

// stateEndpoints are those of what the service does at this moment.
func (h *Handler) stateEndpoints() []endpoint {
	return []endpoint{
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathOverview, ID: "adminOverview", Summary: "What the service does at this moment.",
				Description: "From memory: it can be asked often.", Responses: answers(http.StatusOK, "The overview.", overviewSchema()),
			},
			serve: h.serveOverview,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathRequests, ID: "adminRequests", Summary: "Requests that run, and those that ended last.",
				Description: "Of this node. Of those that have ended the last 500 are remembered, the newest first.",
				Parameters: []openapi.Parameter{
					{Name: "live", In: "query", Description: "Only those that run, or only those that don't.", Schema: openapi.Words("true", "false")},
					{Name: "limit", In: "query", Description: "How many that have ended.", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 0, Maximum: monitor.MostRecent, Default: defaultRequests}},
				},
				Responses: answers(http.StatusOK, "The requests.", requestsSchema()),
			},
			serve: h.serveRequests,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathLatency, ID: "adminLatency", Summary: "Percentiles by endpoint, backend and model.",
				Description: "Of the requests that ended within the window on this node. They are right to a sixteenth; calls that are part of an agent's run are no requests.",
				Parameters:  []openapi.Parameter{{Name: "window", In: "query", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"1m", "5m", "15m"}, Default: "5m"}}},
				Responses:   answers(http.StatusOK, "The percentiles.", latencySchema()),
			},
			serve: h.serveLatency,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathTimeline, ID: "adminTimeline", Summary: "Requests, errors, tokens, cost and percentiles over the last minutes.",
				Parameters: []openapi.Parameter{{Name: "minutes", In: "query", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1, Maximum: 15, Default: 15}}},
				Responses:  answers(http.StatusOK, "The timeline.", timelineSchema()),
			},
			serve: h.serveTimeline,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathWorkers, ID: "adminWorkers", Summary: "The CLI's workers, one by one.",
				Description: "Of this node, the oldest first.", Responses: answers(http.StatusOK, "The workers.", workersSchema()),
			},
			serve: h.serveWorkers,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodDelete, Path: pathWorker, ID: "adminKillWorker", Summary: "End a worker.",
				Description: "Another one is started in its place. A request that it serves goes to another worker where nothing was answered yet, and fails with `cli_error` otherwise.",
				Parameters:  []openapi.Parameter{{Name: "id", In: "path", Description: "As GET /admin/v1/workers tells it.", Schema: openapi.Text("")}},
				Responses:   answers(http.StatusNoContent, "It has ended.", nil, failure(http.StatusConflict, "It is still being started.")),
			},
			serve: h.serveKill,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathStream, ID: "adminStream", Summary: "What happens, as server-sent events.",
				Description: "`overview` each second, as GET /admin/v1/overview; `requests` twice a second while something changes: all that run, and at most 100 that have ended since the last event. " +
					"`end`, with a `reason`, when the session or the key has ended.",
				Responses: append(answers(http.StatusOK, "The events.", nil)[1:], openapi.Response{Status: http.StatusOK, Description: "The events.", ContentType: openapi.EventStream}),
			},
			serve: h.serveStream,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodPost, Path: pathReload, ID: "adminReload", Summary: "Read the configuration again, as SIGHUP does.",
				Responses: answers(http.StatusOK, "It is used from now on.", reloadSchema(), failure(http.StatusNotImplemented, "The service is part of a program that gives it its configuration.")),
			},
			serve: h.serveReload,
		},
	}
}
