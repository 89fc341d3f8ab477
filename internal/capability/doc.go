// Package capability finds the agents and skills that the CLI has, and watches them.
package capability
