// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"cmp"
	"errors"
	"slices"
	"strings"
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
//
// An attempt to issue fails in one of three ways. Each has a constructor, so that no place can forget to say which:
//
//   - Nothing was issued: [NotAsked], and [Refused] by the back end's own error.
//   - No answer is known: [Unanswered]. What was asked for may have been issued, and ending that is a proof.
//   - The back end answered with something else than was asked for: [Mismatched]. Nothing that it confirms afterwards is
//     about what it issued.
type Error struct {
	// Class says what to do.
	Class Class
	// Message for people; sanitised, and short enough for a condition.
	Message string
	// RetryAfter is how long it asked to be left alone; zero when it did not say.
	RetryAfter time.Duration
	// nothing: nothing was issued, for certain. Without it that is not known.
	nothing bool
	// works is until when what was issued all the same works.
	works Works
}

// NotAsked is a failure before a back end was asked for anything that works: nothing was issued.
func NotAsked(class Class, message string) *Error {
	return &Error{Class: class, Message: message, nothing: true}
}

// Refused is an error that a back end answered. Nothing was issued if it is one of its own, whole and nothing beside,
// by which it refuses before it issues: see outbound.Refuses. Otherwise it is [Unanswered].
func Refused(class Class, own bool, message string) *Error {
	return &Error{Class: class, Message: message, nothing: own}
}

// Unanswered is a failure of which nobody knows what the back end did: it did not answer, or something that stands
// before it did.
func Unanswered(class Class, message string) *Error { return &Error{Class: class, Message: message} }

// Mismatched is an answer that is not what was asked for, that has more beside it, or that is not understood. It is
// given to nobody, and what it holds works as long as the back end's answers say, all of them.
func Mismatched(class Class, works Works, message string) *Error {
	works.Mismatched = true
	return &Error{Class: class, Message: message, works: works}
}

// Again is a failure on the way to ending something, which is tried again. What the back end answered on that way
// works as long as the failure says.
func Again(what string, err error) *Error {
	return &Error{Class: Retryable, Message: what + err.Error(), RetryAfter: RetryAfter(err), works: StillWorks(err)}
}

// Join is one failure of several: nil of those that are, and the failure itself if there is one. Of more, it says what each
// says, in their order, and is of the first one's class. It waits as long as the longest asks for, and what works by any
// of them works.
func Join(failures ...error) error {
	failures = slices.DeleteFunc(slices.Clone(failures), func(err error) bool { return err == nil })
	if len(failures) < 2 {
		return cmp.Or(failures...)
	}
	joined, said := &Error{Class: classOf(failures[0])}, []string(nil)
	for _, failure := range failures {
		joined.RetryAfter = max(joined.RetryAfter, RetryAfter(failure))
		joined.works = joined.works.And(StillWorks(failure))
		if !slices.Contains(said, failure.Error()) {
			said = append(said, failure.Error())
		}
	}
	joined.Message = strings.Join(said, "; ")
	return joined
}

func classOf(err error) Class {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Class
	}
	return Retryable
}

// Leaving is the failure, after which something works all the same.
func (e *Error) Leaving(works Works) *Error {
	left := *e
	left.nothing, left.works = false, e.works.And(works)
	return &left
}

// Works says until when something works that a back end issued and nobody is given. The zero value says that nothing
// is known but what was asked for: see Provider.Lifetime.
type Works struct {
	// Until is that instant; zero when the answer does not say.
	Until time.Time
	// Unknown reports whether something was answered, and not until when it works, or not in a form that can be read.
	Unknown bool
	// Mismatched reports whether the back end answered with something else than was asked for: see [Mismatched].
	Mismatched bool
}

// WorksUntil is what an answer says of what it holds: until when, or, for the zero time, that it does not say.
func WorksUntil(until time.Time) Works { return Works{Until: until, Unknown: until.IsZero()} }

// And is what is known of both: until the later end, and unknown if that of one is.
func (w Works) And(other Works) Works {
	if other.Until.After(w.Until) {
		w.Until = other.Until
	}
	w.Unknown, w.Mismatched = w.Unknown || other.Unknown, w.Mismatched || other.Mismatched
	return w
}

func (e *Error) Error() string { return e.Message }

// IsFinal reports whether trying again cannot help.
func IsFinal(err error) bool { return is(err, func(e *Error) bool { return e.Class == Final }) }

// IsThrottled reports whether the back end asked to be left alone for a while.
func IsThrottled(err error) bool { return is(err, func(e *Error) bool { return e.Class == Throttled }) }

// IsRetryable reports whether it may work later. An error that is not this package's own is: nothing is known about it.
func IsRetryable(err error) bool { return err != nil && !IsFinal(err) && !IsThrottled(err) }

// IsRefused reports whether it is certain that nothing was issued.
func IsRefused(err error) bool { return is(err, func(e *Error) bool { return e.nothing }) }

// IsMismatched reports whether the back end answered with something else than was asked for.
func IsMismatched(err error) bool { return is(err, func(e *Error) bool { return e.works.Mismatched }) }

// RetryAfter is how long the back end asked to be left alone; zero when it did not say.
func RetryAfter(err error) time.Duration {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// StillWorks says until when that works which was issued though issuing failed.
func StillWorks(err error) Works {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.works
	}
	return Works{}
}

func is(err error, what func(*Error) bool) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && what(e)
}
