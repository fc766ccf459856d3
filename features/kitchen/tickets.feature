@kitchen
Feature: Tickets
  For every approved order the restaurant's kitchen has a ticket. The kitchen accepts it and says when the food will be
  ready, prepares it, finishes it, and hands it over.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
      | Garlic Naan      | 3.50  |
    And "Ada" has ordered at "Ajanta":
      | dish             | quantity |
      | Chicken Vindaloo | 1        |
      | Garlic Naan      | 2        |

  Rule: A ticket follows from an order

    @policy
    Scenario: An approved order has a ticket that awaits acceptance
      Then the ticket of the order is awaiting acceptance
      And the ticket of the order contains:
        | dish             | price | quantity |
        | Chicken Vindaloo | 12.34 | 1        |
        | Garlic Naan      | 3.50  | 2        |
      And the ticket of the order shows no promised time

    @query
    Scenario: Looking up a ticket
      Then the ticket of the order can be looked up

    @query
    Scenario: Looking up a ticket that does not exist
      When a ticket that does not exist is looked up
      Then it is refused because "ticket not found"

  Rule: The kitchen takes a ticket from step to step

    @command
    Scenario: Accepting
      When the kitchen accepts the order, to be ready in 25 minutes
      Then the ticket of the order is accepted
      And the ticket of the order shows the promised time

    @command
    Scenario: The food can't have been ready before it was accepted
      When the kitchen accepts the order, to be ready 10 minutes ago
      Then it is refused because "readyBy is in the past"
      And the ticket of the order is still awaiting acceptance
      And the ticket of the order shows no promised time

    @command
    Scenario: Preparing
      Given the kitchen has accepted the order
      When the kitchen starts preparing the order
      Then the ticket of the order is being prepared

    @command
    Scenario: Finishing
      Given the kitchen has started preparing the order
      When the kitchen finishes the order
      Then the ticket of the order is ready for pick-up

    @command
    Scenario: Handing over
      Given the kitchen has finished the order
      When the kitchen hands over the order
      Then the ticket of the order is picked up

    @command
    Scenario Outline: The kitchen <action> no ticket that does not exist
      When the kitchen <action> a ticket that does not exist
      Then it is refused because "ticket not found"

      Examples:
        | action           |
        | accepts          |
        | starts preparing |
        | finishes         |
        | hands over       |

  Rule: No step is left out and none is taken twice

    @command
    Scenario Outline: A ticket that awaits acceptance: the kitchen <action> the order
      When the kitchen <action> the order
      Then it is refused because "ticket state does not allow action"
      And the ticket of the order is still awaiting acceptance

      Examples:
        | action           |
        | starts preparing |
        | finishes         |
        | hands over       |

    @command
    Scenario Outline: An accepted ticket: the kitchen <action> the order
      Given the kitchen has accepted the order
      When the kitchen <action> the order
      Then it is refused because "ticket state does not allow action"
      And the ticket of the order is still accepted

      Examples:
        | action     |
        | accepts    |
        | finishes   |
        | hands over |

    @command
    Scenario Outline: A ticket being prepared: the kitchen <action> the order
      Given the kitchen has started preparing the order
      When the kitchen <action> the order
      Then it is refused because "ticket state does not allow action"
      And the ticket of the order is still being prepared

      Examples:
        | action           |
        | accepts          |
        | starts preparing |
        | hands over       |

    @command
    Scenario Outline: A ticket ready for pick-up: the kitchen <action> the order
      Given the kitchen has finished the order
      When the kitchen <action> the order
      Then it is refused because "ticket state does not allow action"
      And the ticket of the order is still ready for pick-up

      Examples:
        | action           |
        | accepts          |
        | starts preparing |
        | finishes         |

    @command
    Scenario Outline: A ticket that was picked up: the kitchen <action> the order
      Given the kitchen has handed over the order
      When the kitchen <action> the order
      Then it is refused because "ticket state does not allow action"
      And the ticket of the order is still picked up

      Examples:
        | action           |
        | accepts          |
        | starts preparing |
        | finishes         |
        | hands over       |

    @command
    Scenario Outline: A cancelled ticket: the kitchen <action> the order
      Given "Ada" has cancelled the order
      When the kitchen <action> the order
      Then it is refused because "ticket state does not allow action"
      And the ticket of the order is still cancelled

      Examples:
        | action           |
        | accepts          |
        | starts preparing |
        | finishes         |
        | hands over       |

  Rule: A kitchen finds its tickets

    Background:
      Given "Ada" has ordered "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      And the kitchen has accepted the order "dinner"

    @query
    Scenario: All tickets of a restaurant
      Then the tickets of "Ajanta" are:
        | order     | ticket              |
        | dinner    | accepted            |
        | the order | awaiting acceptance |

    @query
    Scenario: Those in one state
      Then the tickets of "Ajanta" that are accepted are for:
        | order  |
        | dinner |
      And the tickets of "Ajanta" that are awaiting acceptance are for:
        | order     |
        | the order |

    @query
    Scenario: Not those of another restaurant
      Given the restaurant "Sakura" with the menu:
        | dish  | price |
        | Ramen | 14.00 |
      When "Ada" orders "supper" at "Sakura":
        | dish  | quantity |
        | Ramen | 1        |
      Then the order "supper" is approved
      And the tickets of "Sakura" are:
        | order  | ticket              |
        | supper | awaiting acceptance |
