// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnnotationAccept on a capability or a policy accepts findings of [Catalogue.Lint] about it: CODE: REASON, one a line.
const AnnotationAccept = "valetkey.dev/lint-accept"

// accept marks what the objects' annotations accept, and finds those that accept nothing.
func (l *linter) accept() {
	for _, name := range slices.Sorted(maps.Keys(l.capabilities)) {
		l.acceptedBy(kindCapability, l.capabilities[name])
	}
	for _, p := range l.policies {
		l.acceptedBy(kindPolicy, p)
	}
}

func (l *linter) acceptedBy(kind string, object metav1.Object) {
	for line := range strings.Lines(object.GetAnnotations()[AnnotationAccept]) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		code, reason, _ := strings.Cut(line, ":")
		reason = strings.TrimSpace(reason)
		if reason == "" {
			l.add(SeverityError, CodeAccept, kind, object.GetName(), "annotation %s: write CODE: REASON, not %q", AnnotationAccept, line)
			continue
		}
		used := false
		for i := range l.found {
			if f := &l.found[i]; f.Kind == kind && f.Name == object.GetName() && f.Code == code && code != CodeAccept {
				f.Accepted, used = reason, true
			}
		}
		if !used {
			l.add(SeverityWarning, CodeAccept, kind, object.GetName(), "annotation %s accepts %q, and nothing of that code is found: take it out", AnnotationAccept, code)
		}
	}
}
