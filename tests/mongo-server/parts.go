package main

import "go.mongodb.org/mongo-driver/bson"

// An outcome is what the updates of one command have done so far, in the order of a reply.
type outcome struct {
	Matched  int32        `bson:"n"`
	Modified int32        `bson:"nModified"`
	Upserted []upserted   `bson:"upserted,omitempty"`
	Errors   []writeError `bson:"writeErrors,omitempty"`
	OK       float64      `bson:"ok"`
}

type upserted struct {
	Index int32         `bson:"index"`
	ID    bson.RawValue `bson:"_id"`
}

type writeError struct {
	Index   int32  `bson:"index"`
	Code    int32  `bson:"code"`
	Message string `bson:"errmsg"`
}

// update sends the updates of a command one by one and makes one reply of theirs: FerretDB stops at the first error,
// ordered or not, forgets what it has done until then, and counts the upserted documents instead of the updates.
func update(request message, command command, ferret ask) (message, error) {
	total := outcome{OK: 1}
	for i, part := range command.parts {
		reply, result, err := command.askFor(part, request, ferret)
		if err != nil {
			return nil, err
		}
		one, understood := outcomeOf(result)
		if !understood {
			return reply, nil
		}
		total.add(int32(i), one)
		if command.ordered && len(one.Errors) > 0 {
			break
		}
	}
	return newMessage(request.id(), total)
}

// createIndexes sends the indexes of a command one by one: FerretDB breaks down where it has two of them already.
func createIndexes(request message, command command, ferret ask) (message, error) {
	for _, part := range command.parts {
		reply, result, err := command.askFor(part, request, ferret)
		if err != nil {
			return nil, err
		}
		if done, _ := result.Lookup("ok").DoubleOK(); done != 1 {
			return honest(request, reply)
		}
	}
	return newMessage(request.id(), bson.D{{Key: "ok", Value: 1.0}})
}

// askFor sends the command with only that part.
func (c command) askFor(part bson.Raw, request message, ferret ask) (message, bson.Raw, error) {
	single, err := newMessage(request.id(), append(c.rest, bson.E{Key: c.list, Value: bson.A{part}}))
	if err != nil {
		return nil, nil, err
	}
	reply, err := ferret(single)
	if err != nil {
		return nil, nil, err
	}
	result, err := reply.document()
	return reply, result, err
}

// outcomeOf reads the reply to a single update; a command that failed as a whole is not understood.
func outcomeOf(result bson.Raw) (outcome, bool) {
	if breaksUnique(result) {
		return outcome{Errors: []writeError{{Code: duplicateKeyCode, Message: duplicateKey}}}, true
	}
	var one outcome
	err := bson.Unmarshal(result, &one)
	return one, err == nil && one.OK == 1
}

func (o *outcome) add(index int32, one outcome) {
	o.Matched += one.Matched
	o.Modified += one.Modified
	for _, document := range one.Upserted {
		o.Upserted = append(o.Upserted, upserted{Index: index, ID: document.ID})
	}
	for _, failed := range one.Errors {
		o.Errors = append(o.Errors, writeError{Index: index, Code: failed.Code, Message: failed.Message})
	}
}
