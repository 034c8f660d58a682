// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"regexp"

	"github.com/valetkey/valetkey/internal/names"
)

// The names of the tools' fields.
const (
	fieldCapability     = "capability"
	fieldRepo           = "repo"
	fieldEnvironment    = "environment"
	fieldTask           = "task"
	fieldJustification  = "justification"
	fieldTTL            = "ttl_seconds"
	fieldStep           = "step"
	fieldArgs           = "args"
	fieldImage          = "image"
	fieldCommand        = "command"
	fieldServiceAccount = "service_account"
	fieldName           = "name"
	fieldTimeout        = "timeout_seconds"
)

const (
	// maxName is the longest name of a request.
	maxName = 54
	// maxWords is how many words of a program a review can show.
	maxWords = 256
	// defaultTimeout is less than the minute after which common clients give up.
	defaultTimeout = 50
	maxTimeout     = 300
)

// tools are all there are, in the order in which they are used.
func (s *Server) tools() []*tool {
	name := field{name: fieldName, kind: text, required: true, least: 1, most: maxName,
		pattern: regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`), allowed: "lower case letters, digits and dashes between them"}
	optional := name
	optional.required = false
	capability := field{name: fieldCapability, kind: text, least: 1, most: 63,
		pattern: regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`), allowed: "lower case letters, digits, dots and dashes"}
	one := capability
	one.says = "only this one"
	return []*tool{
		{name: "capabilities", looks: true, do: s.capabilities, fields: []field{one},
			says: "What you may ask for, and on what terms: repos, environments, longest ttl, approvals, steps. Start here."},
		{name: "ask", do: s.ask, fields: askFields(capability, optional),
			says: "Ask for a capability, for one run of one step as a Job. Of what would be refused nothing is created, and you learn what to change; change only what your task allows. Then wait."},
		{name: "wait", looks: true, do: s.wait, fields: []field{name, {name: fieldTimeout, kind: number, least: 1, most: maxTimeout, says: "50 if unset"}},
			says: "Wait until a request has ended, or a person is needed. Call again while it goes on."},
		{name: "status", looks: true, do: s.status, fields: []field{optional},
			says: "Where a request stands; why it was refused and what to change; what an approver has to read. Without name: your requests."},
		{name: "withdraw", ends: true, do: s.withdraw, fields: []field{name},
			says: "Take a request back: its Job is stopped, its credential revoked where that can be."},
	}
}

func askFields(capability, name field) []field {
	capability.required = true
	name.says = "of the request; made up if unset"
	own := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/#:@+-]*$`)
	return []field{
		capability,
		{name: fieldRepo, kind: text, required: true, least: 1, most: names.LongestRepo,
			pattern: regexp.MustCompile(names.RepoForm), allowed: names.RepoWords},
		{name: fieldEnvironment, kind: text, required: true, least: 1, most: names.LongestEnvironment,
			pattern: regexp.MustCompile(names.EnvironmentForm), allowed: names.EnvironmentWords},
		{name: fieldTask, kind: text, required: true, least: 1, most: 128, pattern: own, says: "your name for it, as pr-184",
			allowed: "letters, digits and . _ / # : @ + - after the first"},
		{name: fieldJustification, kind: text, required: true, least: 1, most: 1024, says: "why, in a sentence, for whoever approves",
			pattern: regexp.MustCompile(`^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]*$`), allowed: "characters that print, on one line"},
		{name: fieldTTL, kind: number, least: 10, most: 43200, says: "for how long; the capability's default if unset"},
		{name: fieldArgs, kind: words, most: maxWords, says: "arguments of the step, where it takes any"},
		{name: fieldStep, kind: number, least: 0, most: 7, says: "which of the capability's steps; 0 if unset"},
		{name: fieldImage, kind: text, least: 1, most: 512, pattern: regexp.MustCompile(`^\S+$`), allowed: "no spaces",
			says: "by digest, for a capability without steps"},
		{name: fieldCommand, kind: words, most: maxWords, says: "with image"},
		{name: fieldServiceAccount, kind: text, least: 1, most: 253, pattern: regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`),
			allowed: "lower case letters, digits, dots and dashes", says: "the Job's, if terms name one"},
		name,
	}
}
