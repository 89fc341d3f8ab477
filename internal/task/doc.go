// Package task is what a task is: what may be asked, how it is done by an agent, and what
// is told of it.
package task
