"""Files: from addresses, mirrors, Kaggle and archives to a checked folder."""
