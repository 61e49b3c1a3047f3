/* The library's header is C++; CSentencePiece says what of it can be used. This module only links it. */
