// Package reach answers who may reach whom, and by which policy: Trace for one connection, NewMatrix for all pods.
//
// Every answer is policy.Evaluate's, asked about a world of only the pods in question and the policies that select one of them: the
// others have no say in it. So 10,000 pods and 1,000 policies cost no more than what bears on the question.
//
// The answers are about what the API's objects say. Packets gives the packets that a question is about, so that whoever reads what
// nodes enforce can judge the same packets and compare verdict with verdict.
//
// Pods without an address, as manifests have them, get one of 240.0.0.0/4 or 100::/64, which nobody can have (Place). Of a block only one that
// holds these too can match them: answers that may hang on it say so.
package reach
