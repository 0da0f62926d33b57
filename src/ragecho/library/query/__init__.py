"""What is searched for a question: by default the question, with a language model also other wordings of it."""
