// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// standing says in the words of kstatus, by which GitOps tools judge, how the grant stands.
func (c *Controller) standing(g *v1alpha1.CapabilityGrant) {
	s := &g.Status
	s.ObservedGeneration = g.Generation
	if s.EndedAt != nil {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionReconciling)
		if ended := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionEnded); ended != nil && s.Outcome != v1alpha1.OutcomeCompleted {
			c.condition(g, s, v1alpha1.ConditionStalled, metav1.ConditionTrue, ended.Reason, string(s.Outcome)+": "+ended.Message)
		}
		return
	}
	next := awaited(s)
	if next == nil {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionReconciling)
		return
	}
	c.condition(g, s, v1alpha1.ConditionReconciling, metav1.ConditionTrue, next.Reason, next.Message)
}

// awaited is the condition of a living grant that is to become True next; nil while the Job has the credential, for
// then it is the Job's turn.
func awaited(s *v1alpha1.CapabilityGrantStatus) *metav1.Condition {
	next := []string{v1alpha1.ConditionIssued, v1alpha1.ConditionDelivered}
	if s.Stop != nil {
		next = []string{v1alpha1.ConditionEnded}
	}
	for _, kind := range next {
		if c := meta.FindStatusCondition(s.Conditions, kind); c == nil || c.Status != metav1.ConditionTrue {
			return cmp.Or(c, &metav1.Condition{Reason: v1alpha1.ReasonWaiting})
		}
	}
	return nil
}

func (c *Controller) condition(g *v1alpha1.CapabilityGrant, s *v1alpha1.CapabilityGrantStatus, kind string, status metav1.ConditionStatus, reason, message string) {
	const most = 1500
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: policy.Clip(message, most),
		ObservedGeneration: g.Generation, LastTransitionTime: metav1.NewTime(c.Clock.Now())})
}
