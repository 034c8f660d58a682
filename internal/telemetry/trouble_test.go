// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// lives is a grant that was issued at second 2, delivered at 3 and is to expire at 602; edit makes something else of it.
func lives(edit func(*v1alpha1.CapabilityGrant)) v1alpha1.CapabilityGrant {
	g := ended("", func(s *v1alpha1.CapabilityGrantStatus) { s.EndedAt, s.Stop, s.Revocation = nil, nil, nil })
	g.UID = "the-grant"
	edit(g)
	return *g
}

func TestTrouble(t *testing.T) {
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	stop := func(at float64) *v1alpha1.GrantStop { return &v1alpha1.GrantStop{At: *after(at)} }
	pod := func(node string, phase corev1.PodPhase) []corev1.Pod {
		return []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationGrant: "the-grant"}},
			Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase}}}
	}
	over := func(g *v1alpha1.CapabilityGrant) {
		g.Status.Outcome, g.Status.Stop, g.Status.EndedAt = v1alpha1.OutcomeExpired, stop(602), after(650)
		g.Status.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate, ConfirmedAt: after(603)}
	}
	for name, c := range map[string]struct {
		grant func(*v1alpha1.CapabilityGrant)
		pods  []corev1.Pod
		at    float64
		want  func(*trouble)
	}{
		"a grant that lives is none": {grant: func(*v1alpha1.CapabilityGrant) {}, pods: pod("node", corev1.PodRunning), at: 103,
			want: func(t *trouble) { t.oldest[stateLive] = second(100) }},
		"one that is not issued ages": {grant: func(g *v1alpha1.CapabilityGrant) { g.Status = v1alpha1.CapabilityGrantStatus{} }, at: 70,
			want: func(t *trouble) { t.oldest[stateIssuing] = second(70) }},
		"one whose revocation the back end does not confirm": {grant: func(g *v1alpha1.CapabilityGrant) { g.Status.Stop = stop(100) }, at: 145,
			want: func(t *trouble) { t.oldest[stateEnding], t.unconfirmed = second(45), second(45) }},
		"one that is revoked and waits for its Pod": {grant: func(g *v1alpha1.CapabilityGrant) {
			g.Status.Stop, g.Status.Revocation = stop(100), &v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate}
		}, at: 145, want: func(t *trouble) { t.oldest[stateEnding] = second(45) }},
		"one whose containers no node has reported to have ended": {grant: func(g *v1alpha1.CapabilityGrant) {
			g.Status.Stop, g.Status.Revocation = stop(100), &v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate}
			g.Status.Conditions = append(g.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionEnded, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonEndNotSeen})
		}, at: 200, want: func(t *trouble) { t.oldest[stateEnding], t.unseen = second(100), 1 }},
		"nothing was issued, so nothing is to be confirmed": {grant: func(g *v1alpha1.CapabilityGrant) {
			g.Status = v1alpha1.CapabilityGrantStatus{Stop: stop(100)}
		}, at: 145, want: func(t *trouble) { t.oldest[stateEnding] = second(45) }},
		"its time is over and it is there": {grant: func(*v1alpha1.CapabilityGrant) {}, at: 702,
			want: func(t *trouble) { t.oldest[stateLive], t.late = second(699), second(100) }},
		"it ended late":                           {grant: over, at: 700, want: func(t *trouble) { t.late = second(48) }},
		"it ended late more than an hour ago":     {grant: over, at: 650 + 3600, want: func(*trouble) {}},
		"it was revoked long before its time":     {grant: func(g *v1alpha1.CapabilityGrant) { over(g); g.Status.Outcome = v1alpha1.OutcomeRevoked }, at: 700, want: func(*trouble) {}},
		"its Pod has not ended":                   {grant: over, pods: pod("node", corev1.PodRunning), at: 650 + 3600, want: func(t *trouble) { t.outlived[outlivedByPod] = 1 }},
		"its Pod is on a node that is lost":       {grant: over, pods: pod("node", corev1.PodUnknown), at: 650 + 3600, want: func(t *trouble) { t.outlived[outlivedByPod] = 1 }},
		"its Pod failed":                          {grant: over, pods: pod("node", corev1.PodFailed), at: 650 + 3600, want: func(*trouble) {}},
		"its Pod never had a node":                {grant: over, pods: pod("", corev1.PodPending), at: 650 + 3600, want: func(*trouble) {}},
		"the Pod is of a grant that nobody knows": {grant: func(g *v1alpha1.CapabilityGrant) { over(g); g.UID = "another" }, pods: pod("node", corev1.PodRunning), at: 650 + 3600, want: func(t *trouble) { t.outlived[outlivedByPod] = 1 }},
		"the back end cannot revoke": {grant: func(g *v1alpha1.CapabilityGrant) {
			over(g)
			g.Status.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry, ExposedUntil: after(902)}
		}, at: 901, want: func(t *trouble) { t.late, t.outlived[outlivedUntilExpiry] = second(48), 1 }},
		"it was revoked, and may be accepted for a moment": {grant: func(g *v1alpha1.CapabilityGrant) {
			over(g)
			g.Status.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate, ExposedUntil: after(902)}
		}, at: 901, want: func(t *trouble) { t.late = second(48) }},
		"somebody gave up on its revocation": {grant: func(g *v1alpha1.CapabilityGrant) {
			over(g)
			g.Annotations = map[string]string{v1alpha1.AnnotationAbandon: "it never answers"}
			g.Status.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry, ExposedUntil: after(902)}
		}, at: 901, want: func(t *trouble) { t.late, t.outlived[outlivedAbandoned] = second(48), 1 }},
		"and the credential has expired since": {grant: func(g *v1alpha1.CapabilityGrant) {
			over(g)
			g.Annotations = map[string]string{v1alpha1.AnnotationAbandon: "it never answers"}
			g.Status.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry, ExposedUntil: after(902)}
		}, at: 903, want: func(t *trouble) { t.late = second(48) }},
	} {
		t.Run(name, func(t *testing.T) {
			want := troubleOf(nil, nil, after(c.at).Time)
			c.want(&want)
			got := troubleOf([]v1alpha1.CapabilityGrant{lives(c.grant)}, c.pods, after(c.at).Time)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(trouble{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
