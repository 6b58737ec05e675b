package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"go.mongodb.org/mongo-driver/bson"
)

// A message of MongoDB's wire protocol: 16 bytes of header (length, id, id of the request, kind), then, in an OP_MSG,
// 4 bytes of flags and sections: 0 and the command as a document, or 1, a length, a name and a list of documents.
type message []byte

const (
	opMsg       = 2013
	moreToCome  = 1 << 1
	header      = 16
	maxLength   = 64 << 20
	bodySection = 0
	listSection = 1
)

var errMalformed = errors.New("malformed message")

func readMessage(r io.Reader) (message, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(length[:])
	if size < header || size > maxLength {
		return nil, errMalformed
	}
	m := make(message, size)
	copy(m, length[:])
	_, err := io.ReadFull(r, m[4:])
	return m, err
}

// newMessage is a reply to the request of that id, or a request of that id.
func newMessage(id uint32, document any) (message, error) {
	body, err := bson.Marshal(document)
	if err != nil {
		return nil, err
	}
	m := make(message, 0, header+5+len(body))
	for _, word := range []uint32{uint32(header + 5 + len(body)), id, id, opMsg, 0} {
		m = binary.LittleEndian.AppendUint32(m, word)
	}
	return append(append(m, bodySection), body...), nil
}

func (m message) word(at int) uint32 { return binary.LittleEndian.Uint32(m[at:]) }

func (m message) id() uint32 { return m.word(4) }

func (m message) isCommand() bool { return m.word(12) == opMsg && len(m) > header+5 }

// wantsReply is false for an unacknowledged write.
func (m message) wantsReply() bool { return !m.isCommand() || m.word(header)&moreToCome == 0 }

// document returns the body of a reply.
func (m message) document() (bson.Raw, error) {
	if !m.isCommand() || m[header+4] != bodySection {
		return nil, errMalformed
	}
	document, _, err := cutDocument(m[header+5:])
	return document, err
}

// lists names the list of those commands that are sent part by part.
var lists = map[string]string{"update": "updates", "createIndexes": "indexes"}

// A command is what the relay must know of a request; all after database is there only for one in lists.
type command struct {
	name     string
	database string
	ordered  bool
	list     string
	parts    []bson.Raw
	rest     bson.D // the command without its list
}

func (m message) command() (command, error) {
	body, err := m.document()
	if err != nil {
		return command{}, err
	}
	elements, err := body.Elements()
	if err != nil || len(elements) == 0 {
		return command{}, errMalformed
	}
	c := command{name: elements[0].Key(), ordered: true}
	c.database, _ = body.Lookup("$db").StringValueOK()
	c.list = lists[c.name]
	if c.list == "" {
		return c, nil
	}
	if ordered, ok := body.Lookup("ordered").BooleanOK(); ok {
		c.ordered = ordered
	}
	for _, element := range elements {
		if element.Key() != c.list {
			c.rest = append(c.rest, bson.E{Key: element.Key(), Value: element.Value()})
		}
	}
	c.parts, err = m.parts(body, c.list)
	return c, err
}

// parts returns the documents of a list, which is in the body or in a section of its own.
func (m message) parts(body bson.Raw, list string) ([]bson.Raw, error) {
	var parts []bson.Raw
	if inBody, ok := body.Lookup(list).ArrayOK(); ok {
		values, err := inBody.Values()
		for _, value := range values {
			parts = append(parts, value.Document())
		}
		return parts, err
	}
	section := m[header+5+len(body):]
	if len(section) < 5 || section[0] != listSection {
		return nil, errMalformed
	}
	_, documents, found := bytes.Cut(section[5:], []byte{0})
	for found && len(documents) > 0 {
		document, rest, err := cutDocument(documents)
		if err != nil {
			return nil, err
		}
		parts, documents = append(parts, document), rest
	}
	return parts, nil
}

// cutDocument splits off the document that data begins with.
func cutDocument(data []byte) (document bson.Raw, rest []byte, err error) {
	if len(data) < 5 {
		return nil, nil, errMalformed
	}
	length := binary.LittleEndian.Uint32(data)
	if length < 5 || uint64(length) > uint64(len(data)) {
		return nil, nil, errMalformed
	}
	return bson.Raw(data[:length]), data[length:], nil
}
