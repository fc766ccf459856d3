@order_history
Feature: The history of a consumer's orders
  Consumers see all their orders and what has become of them, the newest first. What they see follows what happens, a
  moment later.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
      | Garlic Naan      | 3.50  |

  Rule: The history shows where every order is

    @policy
    Scenario: Who has not ordered has no history
      Then the history of "Ada" is empty

    @policy
    Scenario: An order
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 2        |
      Then the history of "Ada" shows:
        | order     | restaurant | state    | total | delivery |
        | the order | Ajanta     | approved | 19.34 | pending  |
      And the history shows that the order contains:
        | dish             | price | quantity |
        | Chicken Vindaloo | 12.34 | 1        |
        | Garlic Naan      | 3.50  | 2        |

    @policy @own_system
    Scenario: An order that waits for approval
      Given the accounting service is away
      When "Ada" orders at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      Then the history shows the order as waiting for approval

    @policy
    Scenario: A rejected order
      Given the account of "Ada" has been disabled
      When "Ada" orders at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      Then the history shows the order as rejected
      And the history shows the delivery of the order as cancelled

    @policy
    Scenario: A cancelled order
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      When "Ada" cancels the order
      Then the history shows the order as cancelled
      And the history shows the delivery of the order as cancelled

    @policy @own_system
    Scenario: An order that is being cancelled
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the accounting service is away
      When "Ada" cancels the order
      Then the history shows the order as being cancelled

    @policy
    Scenario: A cancellation that did not come about
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the kitchen has started preparing the order
      When "Ada" cancels the order
      Then the order is approved
      And the history shows the order as approved

    @policy
    Scenario: A revised order
      Given "Ada" has ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 2        |
      When "Ada" revises the order to:
        | dish             | quantity |
        | Chicken Vindaloo | 0        |
        | Garlic Naan      | 3        |
      Then the history shows that the order costs $10.50
      And the history shows the order as approved
      And the history shows that the order contains:
        | dish        | price | quantity |
        | Garlic Naan | 3.50  | 3        |

    @policy @own_system
    Scenario: An order that is being revised still has the quantities it had
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the accounting service is away
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 3        |
      Then the history shows the order as being revised
      And the history shows that the order costs $7.00

    @query
    Scenario: Looking up an order that does not exist
      Given the order "lost", which does not exist
      When the order "lost" is looked up in the history
      Then it is refused because "order not found"

  Rule: The history follows the delivery

    Background:
      Given the courier "Carl" is on duty
      And "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |

    @policy @own_system
    Scenario: A courier is on the way to the restaurant
      When the kitchen accepts the order
      Then the history shows the delivery of the order as scheduled

    @policy @own_system
    Scenario: A courier is on the way to the consumer
      Given the kitchen has finished the order
      When the kitchen hands over the order
      Then the history shows the delivery of the order as picked up

    @policy @own_system
    Scenario: The consumer has it
      Given the kitchen has handed over the order
      When the order is delivered
      Then the history shows the delivery of the order as delivered
      And the history shows the order as approved

  Rule: Everybody sees their own orders, the newest first

    @query
    Scenario: The newest order comes first
      Given "Ada" has ordered "lunch" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      When "Ada" orders "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      Then the history of "Ada" shows:
        | order  | state    | total |
        | dinner | approved | 7.00  |
        | lunch  | approved | 3.50  |

    @query
    Scenario: Nobody sees the orders of others
      Given the consumer "Grace"
      And "Ada" has ordered "lunch" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      When "Grace" orders "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      Then the history of "Grace" shows:
        | order  |
        | dinner |
      And the history of "Ada" shows:
        | order |
        | lunch |

  Rule: What happened while the history was away is shown when it is back

    @policy @own_system
    Scenario: Nothing is missing
      Given the order history service is away
      And "Ada" has ordered "lunch" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      And "Ada" has ordered "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And "Ada" has cancelled the order "lunch"
      When the order history service is back
      Then the history of "Ada" shows:
        | order  | state     | total |
        | dinner | approved  | 7.00  |
        | lunch  | cancelled | 3.50  |

  Rule: The history can be built anew from what has happened

    @policy @own_system
    Scenario: What was lost comes back, with all that has happened since it was ordered
      Given the courier "Carl" is on duty
      And "Ada" has ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      And the kitchen has finished the order
      And the history has lost all its orders
      When the history is built anew
      Then the history of "Ada" shows:
        | order     | restaurant | state    | total | delivery  |
        | the order | Ajanta     | approved | 12.34 | scheduled |

    @policy @own_system
    Scenario: What happens afterwards is followed as before
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the history has lost all its orders
      And the history has been built anew
      When "Ada" cancels the order
      Then the history of "Ada" shows:
        | order     | restaurant | state     | total | delivery  |
        | the order | Ajanta     | cancelled | 7.00  | cancelled |
