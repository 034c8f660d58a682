// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"errors"
	"time"
)

// NotReadyError says why a catalogue object cannot be used.
type NotReadyError struct {
	// Reason is one of the documented reasons of the condition Ready.
	Reason string
	// Message says it to a person.
	Message string
}

func (e *NotReadyError) Error() string { return e.Message }

// Class is what to do about a failure.
type Class string

const (
	// Final: the back end refused, and would again.
	Final Class = "Final"
	// Retryable: it may work later.
	Retryable Class = "Retryable"
	// Throttled: the back end refused for now.
	Throttled Class = "Throttled"
)

// Error is a failure of a back end. Its message is made of known error codes and our own words, never of what the back end said:
// that can carry a token. It wraps nothing, for the same reason.
type Error struct {
	// Class says what to do.
	Class Class
	// Message for people; sanitised, and short enough for a condition.
	Message string
	// Refused: nothing was issued, for certain. Without it that is not known.
	Refused bool
	// RetryAfter is how long it asked to be left alone; zero when it did not say.
	RetryAfter time.Duration
	// Works is until when what was issued all the same works, by the answer that is not used.
	Works Works
}

// Works says until when something works that a back end issued and nobody is given. The zero value says that nothing
// is known but what was asked for: see Provider.Lifetime.
type Works struct {
	// Until is that instant; zero when the answer does not say.
	Until time.Time
	// Unknown reports whether something was answered, and not until when it works, or not in a form that can be read.
	Unknown bool
}

// WorksUntil is what an answer says of what it holds: until when, or, for the zero time, that it does not say.
func WorksUntil(until time.Time) Works { return Works{Until: until, Unknown: until.IsZero()} }

func (e *Error) Error() string { return e.Message }

// IsFinal reports whether trying again cannot help.
func IsFinal(err error) bool { return is(err, func(e *Error) bool { return e.Class == Final }) }

// IsThrottled reports whether the back end asked to be left alone for a while.
func IsThrottled(err error) bool { return is(err, func(e *Error) bool { return e.Class == Throttled }) }

// IsRetryable reports whether it may work later. An error that is not this package's own is: nothing is known about it.
func IsRetryable(err error) bool { return err != nil && !IsFinal(err) && !IsThrottled(err) }

// IsRefused reports whether it is certain that nothing was issued.
func IsRefused(err error) bool { return is(err, func(e *Error) bool { return e.Refused }) }

// RetryAfter is how long the back end asked to be left alone; zero when it did not say.
func RetryAfter(err error) time.Duration {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// StillWorks says until when that works which was issued though issuing failed.
func StillWorks(err error) Works {
	if e := (*Error)(nil); errors.As(err, &e) && !e.Refused {
		return e.Works
	}
	return Works{}
}

func is(err error, what func(*Error) bool) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && what(e)
}
